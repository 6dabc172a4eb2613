"""Labels as files have them, learned as 0, 1, ...; classes and values of one voxel; predictions of another tool."""

import json

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.tasks.label_mapping import FILE
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import read_config
from sfgkeras.errors import DataError

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 12, 12, 1

[PARCELS]
path_to_search = {folder}
filename_contains = _parcels

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
width = 0.1
batch_size = 2
batch_norm = population
whitening = yes

[TRAINING]
max_iter = 1
loss_type = crossentropy
exclude_fraction_for_inference = 0.25

[SEGMENTATION]
image = MR
label = PARCELS
num_classes = 4
label_normalisation = yes
"""
LABELS = np.array([0, 4, 300])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        labels = np.zeros((12, 12, 3), int)
        labels[3:9, 3:9], labels[6:9, 3:9] = 1, 2
        image = labels * 50 + rng.normal(100, 5, labels.shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), tmp_path / f"s{number}_mr.nii.gz")
        parcels = LABELS[labels].astype(np.int16)
        nib.save(nib.Nifti1Image(parcels, np.eye(4)), tmp_path / f"s{number}_parcels.nii.gz")
    return tmp_path


def configure(folder, overrides=()):
    path = folder / "run.ini"
    path.write_text(INI.format(folder=folder))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


def test_without_it_labels_have_to_be_numbered_and_with_it_check_tells_how_they_will_be(folder, reporter):
    assert not check_run(configure(folder, {"SEGMENTATION.label_normalisation": "no"}), reporter)
    assert any("outside 0 to 3" in text for text in reporter.messages)
    assert check_run(configure(folder), reporter)
    told = "segmentation: labels 0, 4, 300 are learned as 0 to 2 (1 of num_classes = 4 are never seen)"
    assert told in reporter.messages
    assert not check_run(configure(folder, {"SEGMENTATION.num_classes": 2}), reporter)
    assert any("has 3 labels in the training subjects (0, 4, 300)" in text for text in reporter.messages)
    assert not (folder / "model" / FILE).exists()


def test_labels_are_learned_as_numbers_and_written_and_measured_as_they_are(folder, reporter):
    config = configure(folder)
    with pytest.raises(DataError, match="label_mapping.json: no labels of task 'segmentation'|no checkpoint|no state"):
        run.infer(config)
    run.train(config, reporter)
    found = json.loads((folder / "model" / FILE).read_text())
    assert found["segmentation"]["labels"] == LABELS.tolist()
    task = build_tasks(config)["segmentation"]
    assert task.labels == tuple(LABELS)
    np.testing.assert_array_equal(task.prepare_map(np.array([300, 0, 4])), [2, 0, 1])
    with pytest.raises(DataError, match="label 7 is in no training subject"):
        task.prepare_map(np.array([0, 7]))
    run.infer(config, reporter)
    (subject,) = find_cohort(config).split["inference"]
    written = nib.load(next(config.inference.save_seg_dir.glob(f"*{subject}*.nii.gz")))
    assert set(np.unique(np.asarray(written.dataobj))) <= set(LABELS.tolist())
    assert written.get_data_dtype() == np.int16
    summary = run.evaluate(config, reporter)["segmentation"]
    assert {row["label"] for row in summary} == {"4", "300"}


def test_outputs_that_no_label_stands_for_are_never_written(folder):
    config = configure(folder)
    (folder / "model").mkdir()
    (folder / "model" / FILE).write_text(json.dumps({"segmentation": {"labels": [0, 4, 300], "fitted_on": "x"}}))
    task = build_tasks(config)["segmentation"]
    probabilities = np.zeros((2, 1, 1, 4), np.float32)
    probabilities[0, ..., 3], probabilities[0, ..., 1] = 0.6, 0.4
    probabilities[1, ..., 2] = 1
    written = task.finish_map(probabilities, lambda volume, order, fill: volume, 0, 0)[""]
    np.testing.assert_array_equal(written[:, 0, 0], [4, 300])


@pytest.mark.slow
def test_labels_of_other_training_files_are_noticed(folder):
    run.train(configure(folder))
    config = configure(folder, {"TRAINING.max_iter": 2})
    path = folder / f"{find_cohort(config).split['training'][0]}_parcels.nii.gz"
    nib.save(nib.Nifti1Image(np.full((12, 12, 3), 4, np.int16), np.eye(4)), path)
    with pytest.raises(DataError, match="label_mapping.json: the labels of task 'segmentation' were found in other"):
        run.train(config)


def test_the_report_shows_classes_by_their_numbers_and_names_them_by_their_labels(folder):
    from sfgkeras.applications.report.slices import _legend

    config = configure(folder)
    (folder / "model").mkdir()
    (folder / "model" / FILE).write_text(json.dumps({"segmentation": {"labels": [0, 4, 300], "fitted_on": "x"}}))
    tasks = build_tasks(config)
    np.testing.assert_array_equal(tasks["segmentation"].class_numbers(np.array([300, 0, 4, 7])), [2, 0, 1, 0])
    assert list(_legend(tasks["segmentation"])) == ["label 4", "label 300"]


def test_the_foreground_is_what_is_not_the_smallest_label(folder):
    config = configure(folder, {"EVALUATION.evaluation_units": "foreground", "EVALUATION.evaluations": "tp"})
    (folder / "model").mkdir()
    (folder / "model" / FILE).write_text(json.dumps({"segmentation": {"labels": [2, 4], "fitted_on": "x"}}))
    task = build_tasks(config)["segmentation"]
    truth = np.array([2, 2, 4, 4]).reshape(4, 1, 1)
    rows = task.evaluate_map(truth, truth, np.ones((4, 1, 1), bool), (1, 1, 1), config.evaluation)
    assert [row["true_positives"] for row in rows] == [2]


@pytest.mark.parametrize(("labels", "measured"), [([2, 4], ["2", "4"]), ([0, 4], ["4"]), ([-1, 4], ["-1", "4"])])
def test_the_smallest_label_is_measured_too_where_it_is_not_0(folder, labels, measured):
    """In trimaps it is the animal that is looked for, and the two others are its surroundings."""
    config = configure(folder, {"EVALUATION.evaluations": "dice"})
    (folder / "model").mkdir()
    (folder / "model" / FILE).write_text(json.dumps({"segmentation": {"labels": labels, "fitted_on": "x"}}))
    low, high = labels
    truth = np.array([low, low, high, high]).reshape(4, 1, 1)
    found = np.array([low, high, high, high]).reshape(4, 1, 1)
    task = build_tasks(config)["segmentation"]
    rows = task.evaluate_map(truth, found, np.ones((4, 1, 1), bool), (1, 1, 1), config.evaluation)
    assert [row["label"] for row in rows] == measured
    assert rows[-1]["dice"] == pytest.approx(4 / 5)
    if len(rows) == 2:
        assert rows[0]["dice"] == pytest.approx(2 / 3)


def test_a_damaged_mapping_is_refused(folder):
    (folder / "model").mkdir()
    (folder / "model" / FILE).write_text("{")
    with pytest.raises(DataError, match="is no label mapping"):
        build_tasks(configure(folder))


def test_predictions_of_another_tool_are_measured_in_place_of_ours(folder, reporter):
    for path in folder.glob("*_parcels.nii.gz"):
        labels = np.asarray(nib.load(path).dataobj)
        moved = nib.Nifti1Image(np.roll(labels, 1, 0), np.eye(4))
        nib.save(moved, folder / path.name.replace("_parcels", "_theirs"))
    overrides = {
        "SEGMENTATION.inferred": "THEIRS", "THEIRS.path_to_search": folder, "THEIRS.filename_contains": "_theirs",
        "SEGMENTATION.label_normalisation": "no", "SEGMENTATION.num_classes": 301, "EVALUATION.evaluations": "dice",
    }  # fmt: skip
    summary = run.evaluate(configure(folder, overrides), reporter, dataset="all")["segmentation"]
    dice = {row["label"]: row["mean"] for row in summary}
    # Label 4 fills rows 3 to 5 of six, moved by one; label 300 rows 6 to 8.
    assert dice["4"] == pytest.approx(2 / 3)
    assert dice["300"] == pytest.approx(2 / 3)
    (folder / "s0_theirs.nii.gz").unlink()
    with pytest.raises(DataError, match=r"subject 's0' has no file in \[THEIRS\], the source of inferred"):
        run.evaluate(configure(folder, overrides), reporter, dataset="all")


FACES = """
[FACES]
path_to_search = {folder}/faces
spatial_window_size = 32, 32, 1

[KIND]
path_to_search = {folder}/kind

[AGE]
path_to_search = {folder}/age
loader = voxel

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = vgg11
width = 0.05
sharing = hard_sharing
batch_norm = population
batch_size = 4
window_sampling = resize
whitening = yes

[TRAINING]
max_iter = 1

[EVALUATION]
evaluations = mae, accuracy, confusion_matrix

[MULTITASK]
image = FACES
tasks = kind, age

[TASK kind]
type = classification
target = KIND
num_classes = 2
label_normalisation = yes

[TASK age]
type = regression
target = AGE
"""


@pytest.fixture
def faces(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        for name, array in {
            "faces": rng.normal(9, 3, (32, 32, 1)), "kind": np.full((1, 1, 1), 3 + 4 * (number % 2)),
            "age": np.full((1, 1, 1), 20.5 + number),
        }.items():  # fmt: skip
            (tmp_path / name).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / name / f"s{number}.nii.gz")
    path = tmp_path / "run.ini"
    path.write_text(FACES.format(folder=tmp_path))
    return read_config(path)


def test_classes_and_values_come_from_images_of_one_voxel(faces, reporter):
    assert check_run(faces, reporter)
    run.train(faces, reporter)
    run.infer(faces, reporter, dataset="all")
    summary = run.evaluate(faces, reporter, dataset="all")
    lines = (faces.inference.save_seg_dir / "values.csv").read_text().splitlines()
    columns, rows = lines[0].split(","), [line.split(",") for line in lines[1:]]
    assert {"kind_probability_3", "kind_probability_7"} < set(columns)
    assert {row[columns.index("kind")] for row in rows} <= {"3", "7"}
    predicted = [float(row[columns.index("age")]) for row in rows]
    mae = np.mean([abs(value - truth) for value, truth in zip(predicted, [20.5, 21.5, 22.5, 23.5], strict=True)])
    assert next(row["mean"] for row in summary["age"] if row["measure"] == "mae") == pytest.approx(mae, rel=1e-5)
    hits = [row[columns.index("kind")] == str(3 + 4 * (number % 2)) for number, row in enumerate(rows)]
    assert next(row["mean"] for row in summary["kind"] if row["measure"] == "accuracy") == np.mean(hits)


def test_an_image_of_more_voxels_is_no_class(faces, reporter):
    path = faces.system.model_dir.parent / "kind" / "s1.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 1), np.float32), np.eye(4)), path)
    assert not check_run(faces, reporter)
    assert any(text.startswith(f"{path}: has 2 x 3 x 1 voxels, and a value or class") for text in reporter.messages)
