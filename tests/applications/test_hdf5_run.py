"""A run on HDF5 files: images, masks and values by row number, phases by folder; results by id."""

import csv

import h5py
import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects import prepared_store
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.applications.training.build import build_window_source
from sfgkeras.config import read_config
from sfgkeras.data.nifti import read_label_map
from sfgkeras.data.on_demand import OnDemand
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

PHOTO = """
[PHOTO]
loader = hdf5
hdf5_file = {folder}/images.h5
spatial_window_size = 32, 32, 1

[MULTITASK]
image = PHOTO

[NETWORK]
width = 0.1
batch_size = 2
batch_norm = population
whitening = yes
"""
"""What both runs have in common; their own sections follow, the rest of [NETWORK] first."""

INI = (
    PHOTO
    + """\
name = highresnet
sharing = hard_sharing
window_sampling = uniform

[MASK]
loader = hdf5
hdf5_file = {folder}/masks.h5

[SYSTEM]
model_dir = {folder}/model

[TRAINING]
max_iter = 2
save_every_n = 1
validation_every_n = 1

[TASK mask]
type = segmentation
target = MASK
num_classes = 2
"""
)

VALUES = (
    PHOTO
    + """\
name = vgg11
sharing = sfg
window_sampling = resize

[KIND]
loader = hdf5
hdf5_file = {folder}/binary.h5

[AREA]
loader = hdf5
hdf5_file = {folder}/areas.h5

[SYSTEM]
model_dir = {folder}/values

[TRAINING]
max_iter = 1
save_every_n = 1
validation_every_n = 1

[TASK kind]
type = classification
target = KIND
num_classes = 2

[TASK area]
type = regression
target = AREA
attribute = area
scale = 0.001
"""
)

COUNTS = {"train": 5, "val": 2, "test": 2}


def write_phases(folder, rng, options=None):
    """Writes four files for each phase, as the report's are, and returns their arrays."""
    written = {}
    for phase, count in COUNTS.items():
        (folder / phase).mkdir(parents=True, exist_ok=True)
        masks = np.zeros((count, 40, 36, 1), np.uint8)
        for index in range(count):
            masks[index, 5 : 15 + index, 8 : 20 + index] = 1
        arrays = {
            "images": (rng.integers(0, 120, (count, 40, 36, 3)) + 100 * masks).astype(np.uint8),
            "masks": masks,
            "binary": np.arange(count, dtype=np.uint8)[:, None] % 2,
            "areas": masks.sum((1, 2), dtype=np.float32),
        }
        for name, array in arrays.items():
            with h5py.File(folder / phase / f"{name}.h5", "w") as file:
                file.create_dataset(name, data=array, **((options or {}) if array.ndim > 2 else {}))
        written[phase] = arrays
    return written


def prepare_training(config):
    prepare_phase(open_session(config, SilentReporter(), training=True), "training", SilentReporter())


@pytest.fixture
def make(tmp_path):
    """Returns a function: text, overrides -> configuration."""

    def configure(text=INI, overrides=None, folder=tmp_path):
        (tmp_path / "run.ini").write_text(text.format(folder=folder))
        return read_config(tmp_path / "run.ini", [(key, str(value)) for key, value in (overrides or {}).items()])

    return configure


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A segmentation trained, inferred and evaluated on compressed files by phase."""
    folder = tmp_path_factory.mktemp("hdf5")
    options = {"chunks": (1, 40, 36, 1), "compression": "gzip"}
    written = write_phases(folder, np.random.default_rng(2), options)
    (folder / "run.ini").write_text(INI.format(folder=folder))
    config = read_config(folder / "run.ini")
    assert check_run(config, SilentReporter())
    run.train(config, SilentReporter())
    run.infer(config, SilentReporter(), dataset="all")
    return config, written, folder


def test_the_folders_of_phases_are_the_split(trained):
    config, _, folder = trained
    split = find_cohort(config).split
    assert {phase: len(ids) for phase, ids in split.items()} == {"training": 5, "validation": 2, "inference": 2}
    assert split["training"][3] == "train_000003"
    assert split["inference"] == ["test_000000", "test_000001"]
    assert (folder / "model" / "dataset_split.csv").read_text().splitlines()[0] == "train_000000,training"


def test_what_the_network_sees_is_the_row_and_its_mask(trained):
    config, written, _ = trained
    session = open_session(config, SilentReporter(), training=False)
    for phase, prefix in (("training", "train"), ("validation", "val")):
        for index, subject in enumerate(session.cohort.phase(phase)):
            prepared = session.preparation.subject(subject)
            pixels = written[prefix]["images"][index].astype(np.float64)
            whitened = (pixels - pixels.mean((0, 1))) / pixels.std((0, 1))
            np.testing.assert_allclose(prepared.image[:, :, 0], whitened, atol=1e-5)
            assert np.array_equal(prepared.label_map("mask")[..., 0], written[prefix]["masks"][index, ..., 0])


def test_pictures_are_not_copied_to_the_disk_and_the_same_without_room_in_memory(trained, monkeypatch):
    config, _, _ = trained
    assert not list(config.system.cache_dir.rglob("*.raw"))
    windows = []
    for part in (8, 1 << 60):
        monkeypatch.setattr(prepared_store, "MEMORY_PART", part)
        session = open_session(config, SilentReporter(), training=False)
        subjects = prepare_phase(session, "training", SilentReporter())
        assert isinstance(subjects[0].image, OnDemand) == (part > 8)
        windows.append(build_window_source(config, session.tasks, subjects, augment=True).batch(range(8)))
    assert np.array_equal(windows[0][0], windows[1][0])
    assert np.array_equal(windows[0][1]["mask"], windows[1][1]["mask"])


def test_results_are_files_by_id_and_evaluation_compares_them_with_the_rows(trained):
    config, written, _ = trained
    run.evaluate(config, SilentReporter())
    with (config.evaluation.save_csv_dir / "mask_subjects.csv").open() as file:
        rows = {row["subject_id"]: row for row in csv.DictReader(file) if row["label"] == "1"}
    assert list(rows) == ["test_000000", "test_000001"]
    for index, (subject_id, row) in enumerate(rows.items()):
        predicted = read_label_map(prediction_path(config, subject_id, "mask")).array[..., 0] == 1
        truth = written["test"]["masks"][index, ..., 0] == 1
        assert predicted.shape == (40, 36)
        dice = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-6)


def test_the_report_shows_rows(trained):
    config, _, _ = trained
    page = write_report(config, SilentReporter())
    assert "test_000000" in page.read_text("utf-8")


@pytest.mark.slow
def test_values_are_read_by_row_number(make, tmp_path):
    written = write_phases(tmp_path, np.random.default_rng(1))
    config = make(VALUES)
    assert {config.target_kind(task) for task in config.tasks} == {"class", "value"}
    run.train(config, SilentReporter())
    session = open_session(config, SilentReporter(), training=False)
    for index, subject in enumerate(session.cohort.phase("training")):
        prepared = session.preparation.subject(subject)
        assert prepared.class_index("kind") == index % 2
        assert prepared.values("area")[0] == pytest.approx(0.001 * written["train"]["areas"][index, 0])
    run.infer(config, SilentReporter())
    run.evaluate(config, SilentReporter())
    with (config.evaluation.save_csv_dir / "area_pairs.csv").open() as file:
        truth = [float(row["truth"]) for row in csv.DictReader(file)]
    assert truth == written["test"]["areas"][:, 0].tolist()


@pytest.mark.parametrize("text", [INI, VALUES])
def test_the_whole_configuration_is_read_back_equal(make, tmp_path, text):
    config = make(text, {"PHOTO.hdf5_ids": "names", "PHOTO.path_to_search": tmp_path})
    (tmp_path / "effective.ini").write_text(config.effective_text())
    assert read_config(tmp_path / "effective.ini") == config


def test_new_pictures_are_predicted_from_the_model_folder(trained, tmp_path):
    config, written, _ = trained
    (tmp_path / "new").mkdir()
    Image.fromarray(written["test"]["images"][0]).save(tmp_path / "new" / "test_000000.png")
    predict(read_trained_run(str(config.system.model_dir)), [str(tmp_path / "new")], tmp_path / "out")
    (found,) = (tmp_path / "out").glob("*.nii.gz")
    expected = read_label_map(prediction_path(config, "test_000000", "mask")).array
    assert np.array_equal(read_label_map(found).array, expected)


def test_rows_of_a_new_file_are_predicted_as_they_were_in_the_run(trained, tmp_path):
    config, _, folder = trained
    run_folder = read_trained_run(str(config.system.model_dir))
    subjects = predict(run_folder, [str(folder / "test" / "images.h5")], tmp_path / "out")
    assert [subject.subject_id for subject in subjects] == ["000000", "000001"]
    for subject_id in ("000000", "000001"):
        found = read_label_map(tmp_path / "out" / f"{subject_id}_mask_predicted.nii.gz").array
        expected = read_label_map(prediction_path(config, f"test_{subject_id}", "mask")).array
        assert np.array_equal(found, expected)
    with pytest.raises(DataError, match=r"is the folder of the image .*choose another folder"):
        predict(run_folder, [str(folder / "test" / "images.h5")], folder / "test")


def test_one_file_for_all_has_its_rows_divided_as_ever(make, tmp_path):
    rng = np.random.default_rng(4)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["photos"] = rng.integers(0, 255, (10, 40, 40, 3), np.uint8)
        file["labels"] = rng.integers(0, 2, (10, 40, 40), np.uint8)
        file["names"] = [f"cat_{number}" for number in range(10)]
    one = {f"{source}.hdf5_file": tmp_path / "all.h5" for source in ("PHOTO", "MASK")}
    one |= {"PHOTO.hdf5_dataset": "photos", "MASK.hdf5_dataset": "labels"}
    one["TRAINING.exclude_fraction_for_inference"] = 0.2
    cohort = find_cohort(make(overrides=one))
    assert sorted(cohort.subjects) == [f"{number:06d}" for number in range(10)]
    assert {phase: len(ids) for phase, ids in cohort.split.items()}["inference"] == 2
    named = find_cohort(make(overrides={**one, "PHOTO.hdf5_ids": "names", "MASK.hdf5_ids": "names"}))
    assert sorted(named.subjects) == sorted(f"cat_{number}" for number in range(10))
    image = named.subjects["cat_7"].images["PHOTO"]
    assert image.name == f"{tmp_path}/all.h5:/photos[7]"
    with h5py.File(tmp_path / "all.h5") as file:
        assert np.array_equal(image.read().array[:, :, 0], file["photos"][7])


def test_rows_that_do_not_belong_together_are_refused(make, tmp_path):
    write_phases(tmp_path, np.random.default_rng(1))
    with h5py.File(tmp_path / "val" / "masks.h5", "w") as file:
        file["masks"] = np.zeros((3, 40, 36, 1), np.uint8)
    message = r"val/masks\.h5:/masks has 3 rows and .*val/images\.h5:/images 2: rows are matched by their number"
    with pytest.raises(DataError, match=message):
        find_cohort(make())


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"PHOTO.hdf5_file": ""}, ConfigError, r"\[PHOTO\] needs hdf5_file|hdf5_file .*the file that loader = hdf5"),
        (
            {"PHOTO.hdf5_file": "no.h5"},
            DataError,
            r"no\.h5: does not exist, nor does a file of this name in train, val, test; correct hdf5_file in \[PHOTO\]",
        ),
        ({"PHOTO.hdf5_dataset": "image"}, DataError, r"no data set 'image', did you mean 'images'\? .*in \[PHOTO\]"),
        ({"PHOTO.hdf5_ids": "ids"}, DataError, r"no data set 'ids', there are: images 5 x 40"),
        (
            {"PHOTO.hdf5_axes": "volume"},
            DataError,
            r"masks\[0\]: its grid \(40 x 36 x 1 voxels .* is not that of its image",
        ),
        ({"PHOTO.hdf5_axes": "volum"}, ConfigError, r"hdf5_axes = 'volum'.*did you mean 'volume'"),
        ({"PHOTO.csv_file": "list.csv"}, ConfigError, r"csv_file .*has no use with loader = hdf5, whose subjects are"),
        ({"PHOTO.filename_contains": "cat"}, ConfigError, r"filename_contains .*has no use with loader = hdf5"),
        ({"MASK.hdf5_file": "{folder}/areas.h5"}, DataError, r"areas\.h5:/areas\[0\]: holds values, and \[MASK\]"),
        ({"MASK.hdf5_file": "{folder}/images.h5"}, DataError, r"images\[0\]: has 3 channels and is no label map"),
    ],
)
def test_what_cannot_be_right_is_refused_by_file_data_set_and_key(make, tmp_path, overrides, error, message):
    write_phases(tmp_path, np.random.default_rng(1))
    given = {key: value.format(folder=tmp_path) for key, value in overrides.items()}
    with pytest.raises(error, match=message):
        prepare_training(make(overrides=given))


def test_a_task_of_values_refuses_images(make, tmp_path):
    write_phases(tmp_path, np.random.default_rng(1))
    with pytest.raises(DataError, match=r"holds images, and \[KIND\] is read for values, \(N,\) or \(N, k\)"):
        find_cohort(make(VALUES, {"KIND.hdf5_file": tmp_path / "masks.h5"}))


def test_steps_of_preprocessing_refuse_photos(make, tmp_path):
    write_phases(tmp_path, np.random.default_rng(1))
    steps = {"PREPROCESSING.steps": "whiten", "PREPROCESSING.sources": "PHOTO", "PREPROCESSING.output": "out"}
    with pytest.raises(DataError, match=r"images\[0\]: is a photo, and steps .* volumes; leave \[PHOTO\] out"):
        find_cohort(make(overrides=steps))


def test_thousands_of_equal_problems_are_not_all_listed(make, tmp_path):
    for name, side in (("images", 40), ("masks", 30)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file[name] = np.zeros((150, side, side), np.uint8)
    with pytest.raises(DataError) as caught:
        open_session(make(), SilentReporter(), training=True)
    lines = str(caught.value).splitlines()
    assert len(lines) == 101
    assert lines[-1].startswith("... and 5")
