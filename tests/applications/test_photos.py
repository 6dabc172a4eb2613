"""Age and gender from photographs: one value per subject, from the file's name or from a table."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.config import read_config
from sfgkeras.data.nifti import write_image
from sfgkeras.errors import DataError

INI = """
[FACES]
path_to_search = {folder}/photos
loader = pillow
filename_attributes = age, gender, race, date
spatial_window_size = 32, 32, 1

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = vgg11
sharing = sfg
width = 0.1
batch_size = 4
window_sampling = resize
whitening = yes

[TRAINING]
lr = 1e-3
max_iter = 2
save_every_n = 1
validation_every_n = 1
exclude_fraction_for_validation = 0.15
exclude_fraction_for_inference = 0.25
best_metric = age_mae

[INFERENCE]
inference_iter = -1

[EVALUATION]
evaluations = mae, accuracy, confusion_matrix

[MULTITASK]
image = FACES
tasks = age, gender

[TASK age]
type = regression
target = FACES
attribute = age
scale = 0.01
unit = years
loss = rmse

[TASK gender]
type = classification
target = FACES
attribute = gender
num_classes = 2
loss = crossentropy
"""
ODD = ("61_1_20170109150557335.jpg.chip.jpg", "portrait.png")


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 photographs of several sizes, formats and modes, two of them oddly named; trained and inferred."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(3)
    for number in range(22):
        age, gender, race = 5 + 3 * number, number % 2, number % 5
        size = (32, 32) if number % 3 else (20 + number % 4, 26)
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        photo = Image.fromarray(pixels).convert("L" if number == 4 else "RGB")
        photo.save(folder / "photos" / f"{age}_{gender}_{race}_2017010915{number:02d}.{'png' if number % 2 else 'jpg'}")
    for name in ODD:
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / "photos" / name)
    return folder


def configure(folder, overrides=()):
    path = folder / "faces.ini"
    path.write_text(INI.format(folder=folder))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


class Reporter:
    def __init__(self):
        self.warnings, self.messages, self.tables = [], [], {}

    def message(self, text):
        self.messages.append(text)

    def warning(self, text):
        self.warnings.append(text)

    def table(self, title, columns, rows):
        self.tables[title] = (list(columns), [list(row) for row in rows])

    def stage(self, title, total, done=0):
        from sfgkeras.reporter import SilentReporter

        return SilentReporter().stage(title, total, done)


@pytest.fixture(scope="module")
def trained(folder):
    """The configuration, the network after training and what training said."""
    config, said = configure(folder), Reporter()
    network = run.train(config, said)
    run.infer(config, said, dataset="all")
    return config, network, said


def attributes(subject_id):
    age, gender, *_ = subject_id.split("_")
    return int(age), int(gender)


def test_odd_names_are_warned_about_and_serve_for_inference_only(trained):
    config, _, said = trained
    for name in ODD:
        assert any(name in text and "left out" in text for text in said.warnings), name
    split = find_cohort(config).split
    odd = {"61_1_20170109150557335.jpg.chip", "portrait"}
    assert odd <= set(split["inference"])
    assert {phase: len(ids) for phase, ids in split.items()} == {"training": 12, "validation": 4, "inference": 8}


def test_each_photo_gets_a_line_of_values_in_the_targets_units(trained):
    config, network, _ = trained
    rows = {row["subject_id"]: row for row in read_rows(config.inference.save_seg_dir / "values.csv")}
    assert len(rows) == 24
    assert list(rows["portrait"]) == ["subject_id", "age", "gender", "gender_probability_0", "gender_probability_1"]
    for path in sorted((config.system.model_dir.parent / "photos").glob("*")):
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float64)
        if pixels.shape[:2] != (32, 32):
            continue
        whitened = (pixels - pixels.mean((0, 1))) / pixels.std((0, 1))
        outputs = network(whitened[None].astype(np.float32), training=False)
        logits = np.asarray(outputs["gender"])[0]
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        row = rows[path.name.rsplit(".", 1)[0]]
        assert float(row["age"]) == pytest.approx(100 * float(outputs["age"][0, 0]), rel=1e-3, abs=1e-3)
        assert int(row["gender"]) == probabilities.argmax()
        found = [float(row[f"gender_probability_{c}"]) for c in (0, 1)]
        assert found == pytest.approx(probabilities.tolist(), abs=1e-4)


def test_the_age_is_measured_in_years_and_the_gender_by_its_confusion_matrix(trained):
    config, _, _ = trained
    said = Reporter()
    summary = run.evaluate(config, said)
    rows = {row["subject_id"]: row for row in read_rows(config.inference.save_seg_dir / "values.csv")}
    held_out = [s for s in find_cohort(config).split["inference"] if re.match(r"\d+_\d_\d_\d+$", s)]
    assert len(held_out) == 6
    truth = np.array([attributes(subject_id) for subject_id in held_out])
    predicted = np.array([[float(rows[s]["age"]), float(rows[s]["gender"])] for s in held_out])
    mae = np.abs(truth[:, 0] - predicted[:, 0]).mean()
    accuracy = (truth[:, 1] == predicted[:, 1]).mean()
    means = {row["measure"]: row["mean"] for row in (*summary["age"], *summary["gender"])}
    assert means["mae"] == pytest.approx(mae, rel=1e-6)
    assert means["accuracy"] == pytest.approx(accuracy)
    columns, matrix = said.tables["gender: confusion matrix"]
    assert columns == ["truth \\ predicted", "0", "1"]
    for true in (0, 1):
        counts = [int(((truth[:, 1] == true) & (predicted[:, 1] == guess)).sum()) for guess in (0, 1)]
        assert matrix[true] == [str(true), *counts]
    assert "2 subjects have no target in [FACES] and are left out" in said.warnings
    pairs = read_rows(config.evaluation.save_csv_dir / "age_pairs.csv")
    assert [row["subject_id"] for row in pairs] == held_out
    assert [float(row["truth"]) for row in pairs] == truth[:, 0].tolist()
    np.testing.assert_allclose([float(row["prediction"]) for row in pairs], predicted[:, 0], rtol=1e-5)
    for name in ("age_summary", "gender_summary", "gender_pairs", "age_subjects"):
        assert read_rows(config.evaluation.save_csv_dir / f"{name}.csv")


def test_measures_of_one_task_alone_leave_the_other_without(trained):
    config, _, _ = trained
    said = Reporter()
    summary = run.evaluate(configure(config.system.model_dir.parent, {"EVALUATION.evaluations": "mae"}), said)
    assert [row["measure"] for row in summary["age"]] == ["mae"]
    assert summary["gender"] == []


def test_the_validation_log_counts_in_the_units_of_the_target(trained):
    config, _, reporter = trained
    rows = read_rows(config.system.model_dir / "logs" / "validation.csv")
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["gender_accuracy"]) <= 1 for row in rows)
    # The network learns ages / 100 and starts near 0: an error in years is above 3, one in centuries below.
    assert all(3 < float(row["age_mae"]) < 300 for row in rows)
    shown = [text for text in reporter.messages if text.startswith("validation at iteration 1:")]
    assert f"age_mae {float(rows[0]['age_mae']):.4g} years" in shown[0]
    assert (config.system.model_dir / "checkpoints" / "best.npz").is_file()


def test_new_photos_get_the_values_of_inference_from_the_model_folder(trained, tmp_path):
    config, _, _ = trained
    found = read_trained_run(str(config.system.model_dir))
    predict(found, [str(config.system.model_dir.parent / "photos")], tmp_path)
    assert (tmp_path / "values.csv").read_bytes() == (config.inference.save_seg_dir / "values.csv").read_bytes()
    image = np.zeros((9, 9, 1), np.float32)
    write_image(tmp_path / "volume.nii.gz", image, np.eye(4))
    with pytest.raises(DataError, match="the network sees photos, and here are only volumes"):
        predict(found, [str(tmp_path)], tmp_path / "out")


def test_a_second_inference_does_nothing(trained):
    config, _, _ = trained
    path = config.inference.save_seg_dir / "values.csv"
    before, said = path.stat().st_mtime_ns, Reporter()
    run.infer(config, said, dataset="all")
    assert path.stat().st_mtime_ns == before
    assert any("nothing to infer" in text for text in said.messages)


TABLE = {
    "FACES.filename_attributes": "", "YEARS.loader": "table", "MULTITASK.tasks": "years",
    "TASK years.type": "regression", "TASK years.target": "YEARS", "TASK years.attribute": "age_in_years",
    "TASK years.scale": 0.01, "TRAINING.best_metric": "years_mae", "TRAINING.max_iter": 1,
    "NETWORK.sharing": "hard_sharing", "NETWORK.batch_norm": "population", "EVALUATION.evaluations": "mae",
}  # fmt: skip


def test_targets_may_come_from_a_table(folder):
    ids = sorted(path.name.rsplit(".", 1)[0] for path in (folder / "photos").iterdir())[:-2]
    table = folder / "years.csv"
    table.write_text(
        "subject_id,city,age_in_years\n" + "".join(f"{name},Rome,{20 + i}\n" for i, name in enumerate(ids))
    )
    config = configure(folder, TABLE | {"YEARS.csv_file": table, "SYSTEM.model_dir": folder / "table"})
    said = Reporter()
    run.train(config, said)
    assert any("2 of 24 subjects have no target in YEARS" in text for text in said.warnings)
    run.infer(config)
    summary = run.evaluate(config, said)
    rows = {row["subject_id"]: float(row["years"]) for row in read_rows(config.inference.save_seg_dir / "values.csv")}
    truth = {name: 20 + i for i, name in enumerate(ids)}
    errors = [abs(value - truth[name]) for name, value in rows.items() if name in truth]
    assert len(errors) == 6
    assert len(rows) == 8
    assert next(row["mean"] for row in summary["years"] if row["measure"] == "mae") == pytest.approx(np.mean(errors))


def test_the_report_shows_values_a_confusion_matrix_and_what_filters_answer_to_a_photo(trained, tmp_path):
    from sfgkeras.analysis.activation_maps import read_maps
    from sfgkeras.applications.report.page import write_report

    config, _, _ = trained
    run.evaluate(config, Reporter(), dataset="training")
    page = write_report(config, Reporter(), tmp_path, activations=True).read_text(encoding="utf-8")
    assert "gender: subjects with their truth in rows, prediction in columns" in page
    assert "age: predicted and true values" in page
    assert "one value per subject: there are no predicted images" in page
    maps = read_maps(tmp_path / "activations.npz")
    assert len(maps.num_filters) == 8
    assert len(maps.slices) == 2
    assert maps.images.shape == (2, 32, 32)
    # The network pools: maps of later layers are smaller.
    sizes = {entry.layer: entry.maps.shape[1] for entry in maps.filters}
    assert (sizes["sfg_1"], sizes["sfg_2"], sizes["sfg_8"]) == (32, 16, 2)
