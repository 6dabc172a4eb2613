"""What the lecture's systems must show, with their INI files: disjoint labels, several modalities, tasks that stop."""

import csv
import gzip
import subprocess
import sys

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.config import find_config, read_config
from sfgkeras.data.nifti import read_label_map
from sfgkeras.phantom.faces import write_faces
from sfgkeras.phantom.modalities import labels_of, write_modalities
from sfgkeras.phantom.shapes_files import write_disjoint_pictures

pytestmark = pytest.mark.slow
NUM_PHOTOS = 3000


def test_one_network_of_three_modalities_finds_less_than_a_hundredth_of_foreign_labels(tmp_path):
    write_modalities(tmp_path / "data", 90)
    sources = [(f"{name}.path_to_search", str(tmp_path / "data")) for name in ("IMAGES", "LABELS")]
    shorter = [("TRAINING.max_iter", "250"), ("SYSTEM.model_dir", str(tmp_path / "model"))]
    config = read_config(find_config("ini_configs/moeskops"), [*sources, *shorter])
    run.train(config)
    run.infer(config, dataset="inference")
    foreign, own = [], []
    for subject in find_cohort(config).phase("inference"):
        found = read_label_map(prediction_path(config, subject.subject_id, "tissue")).array
        labels = labels_of(subject.subject_id.split("_")[0])
        foreign.append(np.mean(~np.isin(found, [0, *labels])))
        own.append(np.isin(found, labels).mean())
    assert np.mean(foreign) < 0.01
    assert min(own) > 0.002, "every slice has labels of its own"


def measured(summary, task, measure):
    """Means of a measure, one for each label."""
    return [row["mean"] for row in summary[task] if row["measure"] == measure]


@pytest.mark.parametrize("name", ["ubernet", "pinto"])
def test_every_task_is_learned_from_its_own_third_of_the_photos(tmp_path, name):
    write_disjoint_pictures(tmp_path / "data", NUM_PHOTOS)
    places = {"PHOTOS.path_to_search": "images", "MASKS.path_to_search": "masks", "ANIMALS.csv_file": "subjects.csv"}
    sources = [(key, str(tmp_path / "data" / place)) for key, place in places.items()]
    config = read_config(find_config(f"ini_configs/{name}"), [*sources, ("SYSTEM.model_dir", str(tmp_path / "model"))])
    run.train(config)
    run.infer(config, dataset="inference")
    summary = run.evaluate(config, dataset="inference")
    # Chance is 0.5 for the kind; a box as large as the photo would have 0.3.
    assert min(measured(summary, "mask", "dice")) > 0.75
    assert min(measured(summary, "kind", "accuracy")) > 0.7
    assert min(measured(summary, "box", "box_iou")) > 0.5


def test_auxiliary_tasks_are_learned_before_they_stop_and_landmarks_are_found(tmp_path):
    write_faces(tmp_path / "data", 1500)
    sources = [("PHOTOS.path_to_search", "images"), ("FACES.csv_file", "subjects.csv")]
    paths = [(key, str(tmp_path / "data" / place)) for key, place in sources]
    config = read_config(find_config("ini_configs/tcdcn"), [*paths, ("SYSTEM.model_dir", str(tmp_path / "model"))])
    run.train(config)
    run.infer(config, dataset="inference")
    summary = run.evaluate(config, dataset="inference")
    # The mean place of a landmark is 5.6 to 7.4 pixels off.
    assert max(measured(summary, "landmarks", "radial_error")) < 3
    for task in ("gender", "smile", "glasses"):
        assert min(measured(summary, task, "accuracy")) > 0.85
    stopped = CheckpointFolder(tmp_path / "model" / "checkpoints").read(900).record["progress"]["stopped_at"]
    assert stopped
    with (tmp_path / "model" / "logs" / "validation.csv").open() as file:
        scores = {int(row["iteration"]): row for row in csv.DictReader(file)}
    for task, iteration in stopped.items():
        assert float(scores[iteration][f"{task}_accuracy"]) > 0.85


MEMORY = """
import resource, sys
import numpy as np, tensorflow as tf
from sfgkeras.networks import UNet

network = UNet(
    {"mask": 1, "kind": 2, "box": 4}, sharing="hard_sharing", heads={"kind": "vector", "box": "vector"}, levels=3,
    width=0.25, seed=0, rematerialise=sys.argv[1],
)
network.build((None, None, None, 3))

@tf.function(autograph=False)
def step(images):
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_mean(output**2) for output in network(images, training=True).values()])
    return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, network.trainable_variables)]

small, large = (tf.constant(np.ones((count, 256, 256, 3), "float32")) for count in (1, 12))
step(small[:, :32, :32])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_recomputation_lowers_the_peak_of_memory_of_a_network_of_many_heads():
    def peak(setting):
        command = [sys.executable, "-c", MEMORY, setting]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak("activations") < 0.85 * peak("none")


DIGITS = """
[DIGITS]
path_to_search = {folder}/images
spatial_window_size = 32, 32, 1

[ANSWERS]
csv_file = {folder}/answers.csv
loader = table

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = vgg11
width = 0.125
sharing = hard_sharing
batch_size = 24
batch_norm = population
window_sampling = resize
whitening = yes

[TRAINING]
max_iter = 250
exclude_fraction_for_inference = 0.2

[MULTITASK]
image = DIGITS
missing_targets = allow

[TASK digit]
type = classification
target = ANSWERS
num_classes = 10

[TASK even]
type = classification
target = ANSWERS
num_classes = 2
"""


@pytest.mark.real_data
def test_two_data_sets_of_digits_with_different_labels_teach_one_network(real_data, tmp_path):
    from PIL import Image

    arrays = []
    for name, start in (("images-idx3", 16), ("labels-idx1", 8)):
        with gzip.open(real_data / "mnist" / f"t10k-{name}-ubyte.gz") as stream:
            arrays.append(np.frombuffer(stream.read(), np.uint8)[start:])
    images, digits = arrays[0].reshape(-1, 28, 28)[:1600], arrays[1][:1600]
    (tmp_path / "images").mkdir()
    lines = ["subject_id,digit,even"]
    for number, (image, digit) in enumerate(zip(images, digits, strict=True)):
        Image.fromarray(image).save(tmp_path / "images" / f"d{number:04d}.png")
        lines.append(f"d{number:04d},{digit}," if number % 2 else f"d{number:04d},,{1 - digit % 2}")
    (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "digits.ini"
    path.write_text(DIGITS.format(folder=tmp_path))
    config = read_config(path)
    run.train(config)
    run.infer(config, dataset="inference")
    summary = run.evaluate(config, dataset="inference")
    accuracy = {
        task: next(row["mean"] for row in rows if row["measure"] == "accuracy") for task, rows in summary.items()
    }
    # Each head was taught by half of the subjects; chance is 0.1 and 0.5.
    assert accuracy["digit"] > 0.7
    assert accuracy["even"] > 0.8
