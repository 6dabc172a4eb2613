"""Cross-validation through an INI file: a run for each fold, and all of them together."""

import csv
import re
import textwrap
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.analysis.fold_curves import mean_curve
from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.folds import find_folds, fold_config
from sfgkeras.config import read_config
from sfgkeras.data.folds import read_folds, write_folds
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {data}
filename_contains = _mr
spatial_window_size = 8, 6, 3

[CT]
path_to_search = {data}
filename_contains = _ct

[CLINICAL]
loader = table
csv_file = {data}/clinical.csv

[SYSTEM]
model_dir = {model}
seed = 2

[NETWORK]
name = two_stages
sharing = hard_sharing
batch_size = 2
batch_norm = population
normalisation = yes
histogram_ref_file = landmarks.json

[TRAINING]
max_iter = 3
lr = 0.01
save_every_n = 2
tensorboard_every_n = 0
folds = 2
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = MR
tasks = ct, sex, age

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK sex]
type = classification
target = CLINICAL
attribute = sex
num_classes = 2

[TASK age]
type = regression
target = CLINICAL
attribute = age
scale = 0.01
"""
IDS = [f"p{number}_{visit}" for number in range(4) for visit in "ab"]

pytestmark = pytest.mark.usefixtures("two_stages")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for number, subject_id in enumerate(IDS):
        mr = rng.gamma(2.0 + number, 10.0, (8, 6, 3)).astype(np.float32)
        for kind, volume in (("mr", mr), ("ct", 2 * mr + 5)):
            nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2.0, 3.0, 1.0])), folder / f"{subject_id}_{kind}.nii.gz")
        rows.append(f"{subject_id},{int(number in (1, 4, 6))},{20 + 7 * number}")
    (folder / "clinical.csv").write_text("subject_id,sex,age\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def configure(data):
    def make(folder, overrides=()):
        path = folder / "folds.ini"
        path.write_text(textwrap.dedent(INI).format(data=data, model=folder / "model"))
        return read_config(path, [(f"{name}", str(value)) for name, value in dict(overrides).items()])

    return make


@pytest.fixture(scope="module")
def trained(configure, tmp_path_factory):
    """The configuration of all folds, trained, and what it said."""
    from tests.applications.conftest import RecordingReporter

    reporter, config = RecordingReporter(), configure(tmp_path_factory.mktemp("folds"))
    assert run.train(config, reporter) is None
    return config, reporter


def of_fold(config, number, **inference):
    own = config.training.model_copy(update={"fold": number})
    return replace(config, training=own, inference=config.inference.model_copy(update=inference))


def arrays_of(folder):
    return dict(CheckpointFolder(folder / "checkpoints").read(-1).arrays)


def values_of(folder):
    with (folder / "values.csv").open(newline="") as file:
        return {row["subject_id"]: row for row in csv.DictReader(file)}


def volume_of(folder, subject_id):
    return np.asarray(nib.load(folder / f"{subject_id}_ct_predicted.nii.gz").dataobj)


@pytest.mark.slow
def test_every_subject_is_held_out_once_and_learned_from_by_the_other_folds(trained):
    config, reporter = trained
    folder = config.system.model_dir
    folds, split = read_folds(folder / "folds.csv"), read_split(config.system.dataset_split_file)
    assert sorted(folds) == sorted(split["training"])
    assert len(split["inference"]) == 2
    landmarks = set()
    for number in (1, 2):
        own = folder / f"fold_{number}"
        held_out = {each for each, fold in folds.items() if fold == number}
        assert set(read_split(own / "dataset_split.csv")["validation"]) == held_out
        record = CheckpointFolder(own / "checkpoints").read(3).record
        assert set(record["trained_on"]) == set(folds) - held_out
        assert record["training"]["must stay"]["[TRAINING] fold"] == number
        landmarks.add((own / "landmarks.json").read_text())
    assert len(landmarks) == 2  # each fitted to its own training subjects
    assert [text for text in reporter.messages if text.startswith("fold 2 of 2: 3 of 6 subjects are held out")]


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_one_fold_alone_is_the_same(trained, configure, tmp_path, reporter):
    config, _ = trained
    before = {path: path.stat().st_mtime_ns for path in config.system.model_dir.rglob("*.npz")}
    run.train(config, reporter)
    assert {path: path.stat().st_mtime_ns for path in config.system.model_dir.rglob("*.npz")} == before
    assert [text[:18] for text in reporter.messages] == [f"fold {number} of 2: was d" for number in (1, 2)]
    # Killed in the second fold, and before the others began, then resumed.
    parts = configure(tmp_path)
    run.train(configure(tmp_path, {"TRAINING.fold": 2, "TRAINING.max_iter": 2}))
    assert not (tmp_path / "model" / "fold_1" / "checkpoints").exists()
    (tmp_path / "model" / "fold_1").mkdir(exist_ok=True)
    with holding(tmp_path / "model" / "fold_1", "train", SilentReporter()):
        run.train(parts, reporter)
    assert any("fold 1 of 2 is left to the process that trains it" in text for text in reporter.messages)
    own, whole = (arrays_of(each.system.model_dir / "fold_2") for each in (parts, config))
    for key, value in whole.items():
        np.testing.assert_array_equal(own[key], value, err_msg=key)


@pytest.mark.slow
def test_subjects_for_inference_get_the_mean_of_all_networks(trained, tmp_path, reporter):
    config, _ = trained
    run.infer(config, reporter)
    tested = read_split(config.system.dataset_split_file)["inference"]
    folder = config.inference.save_seg_dir
    singles = []
    for number in (1, 2):
        run.infer(of_fold(config, number))
        singles.append(fold_config(config, number).inference.save_seg_dir)
    together, single_values = values_of(folder), [values_of(each) for each in singles]
    assert sorted(together) == sorted(tested)
    for subject_id in tested:
        volumes = [volume_of(each, subject_id) for each in singles]
        assert np.abs(volumes[0] - volumes[1]).max() > 1e-3  # they differ
        np.testing.assert_allclose(volume_of(folder, subject_id), np.mean(volumes, axis=0), rtol=1e-4, atol=1e-4)
        mean = np.mean([float(each[subject_id]["age"]) for each in single_values])
        assert float(together[subject_id]["age"]) == pytest.approx(mean, rel=1e-4)
    assert "subjects: 2 by the mean of all 2 networks" in reporter.messages

    # New patients from the folder of all folds alone.
    mr = config.sources["MR"].path_to_search[0] / f"{tested[0]}_mr.nii.gz"
    predict(read_trained_run(str(config.system.model_dir)), [str(mr)], tmp_path / "new", reporter)
    found = np.asarray(nib.load(next((tmp_path / "new").glob("*_ct_predicted.nii.gz"))).dataobj)
    np.testing.assert_allclose(found, volume_of(folder, tested[0]), rtol=1e-5, atol=1e-5)
    assert "results are the mean of the networks of 2 folds" in reporter.messages


@pytest.mark.slow
def test_held_out_subjects_are_predicted_by_the_fold_that_has_not_seen_them_and_evaluated_together(trained, reporter):
    config, _ = trained
    # A table of values holds the subjects of one call: it goes elsewhere.
    config = of_fold(config, None, save_seg_dir=config.system.model_dir / "held_out")
    run.infer(config, reporter, dataset="validation")
    folds, folder = read_folds(config.system.model_dir / "folds.csv"), config.inference.save_seg_dir
    table = values_of(folder)
    assert sorted(table) == sorted(folds)
    for number in (1, 2):
        run.infer(of_fold(config, number), dataset="validation")
        own = fold_config(config, number).inference.save_seg_dir
        for subject_id in (each for each, fold in folds.items() if fold == number):
            np.testing.assert_allclose(volume_of(folder, subject_id), volume_of(own, subject_id), rtol=1e-5, atol=1e-5)
            assert float(table[subject_id]["age"]) == pytest.approx(float(values_of(own)[subject_id]["age"]), rel=1e-5)
    assert not [text for text in reporter.warnings if "trained on before" in text]
    summary = run.evaluate(config, reporter, dataset="validation")
    assert {row["n"] for row in summary["ct"] if row["measure"].startswith("mae")} == {6}
    truth = 2 * np.asarray(nib.load(config.sources["MR"].path_to_search[0] / "p0_a_mr.nii.gz").dataobj) + 5
    with (config.evaluation.save_csv_dir / "ct_subjects.csv").open(newline="") as file:
        rows = {row["subject_id"]: row for row in csv.DictReader(file)}
    if "p0_a" in rows:
        by_hand = np.abs(volume_of(folder, "p0_a") - truth).mean()
        assert float(rows["p0_a"]["mae"]) == pytest.approx(by_hand, rel=1e-3)
    with pytest.raises(DataError, match="every subject of a fold is learned from by the other folds"):
        run.infer(config, dataset="training")


@pytest.mark.slow
def test_the_report_of_a_trained_run_shows_all_folds_and_leads_to_the_page_of_each(trained, tmp_path):
    config, _ = trained
    config = of_fold(config, None, save_seg_dir=config.system.model_dir / "held_out")
    run.infer(config, dataset="validation")
    run.evaluate(config, dataset="validation")
    single = write_report(of_fold(config, 1))
    page = write_report(config)
    text = page.read_text(encoding="utf-8")
    assert page == config.system.model_dir / "report" / "report.html"
    assert (page.parent / "../fold_1/report/report.html").resolve() == single.resolve()
    assert "../fold_1/report/report.html" in text
    assert "the page of fold 2" in text
    with (config.evaluation.save_csv_dir / "ct_subjects.csv").open(newline="") as file:
        errors = [float(row["mae"]) for row in csv.DictReader(file)]
    assert f"{np.mean(errors):.4g} ± {np.std(errors, ddof=1):.3g}" in text
    assert (page.parent / "figures" / "folds.pdf").is_file()


def cells(page):
    """The cells of every table of a page, by the first words of its caption."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, flags=re.DOTALL)
    found = {}
    for table in tables:
        caption = " ".join(re.sub("<[^>]*>", " ", re.search("<caption.*?</caption>", table, re.DOTALL)[0]).split())
        rows = re.findall("<tr.*?</tr>", table, flags=re.DOTALL)
        found[caption] = [
            [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall("<t[hd].*?</t[hd]>", row, re.DOTALL)]
            for row in rows
        ]
    return found


def test_one_page_over_all_folds_has_their_curves_measures_and_subjects(configure, tmp_path):
    config = configure(tmp_path)
    model, evaluation = config.system.model_dir, config.evaluation.save_csv_dir
    with pytest.raises(DataError, match=r"folds.csv: there are no folds to report on yet; train first: sfgkeras train"):
        write_report(config)
    folds = dict(
        zip(sorted(f"p{number}_{visit}" for number in range(3) for visit in "ab"), [1, 2, 1, 2, 2, 1], strict=True)
    )
    model.mkdir(parents=True)
    write_folds(model / "folds.csv", folds)
    missing = write_report(config).read_text(encoding="utf-8")
    assert "Nothing has been trained yet." in missing
    assert "no measures of held-out subjects yet of ct, sex, age" in missing
    for number, losses in ((1, (4.0, 2.0)), (2, (3.0, 1.0))):
        logs = model / f"fold_{number}" / "logs"
        logs.mkdir(parents=True)
        rows = "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, start=1))
        (logs / "training.csv").write_text(f"iteration,loss\n{rows}")
        (logs / "validation.csv").write_text(f"iteration,loss\n2,{losses[1] + 1}\n")
    (model / "fold_2" / "report").mkdir()
    (model / "fold_2" / "report" / "report.html").write_text("page")
    errors = {name: 10.0 + place for place, name in enumerate(folds)}
    evaluation.mkdir(parents=True)
    lines = "".join(f"{name},{error}\n" for name, error in errors.items())
    (evaluation / "ct_subjects.csv").write_text(f"subject_id,mae\n{lines}")
    hits = dict(zip(folds, [0, 1, 1, 1, 0, 1], strict=True))
    lines = "".join(f"{name},1,{hit}\n" for name, hit in hits.items())
    (evaluation / "sex_pairs.csv").write_text(f"subject_id,truth,prediction\n{lines}")
    page = write_report(config)
    text, tables = page.read_text(encoding="utf-8"), cells(page)
    for number in (1, 2):
        own = [errors[name] for name, fold in folds.items() if fold == number]
        (row,) = (row for row in tables["ct: by fold, and over all held-out subjects"] if row[0] == f"fold {number}")
        assert row[1] == f"{np.mean(own):.4g} ± {np.std(own, ddof=1):.3g}"
        (row,) = (row for row in tables["Subjects by fold"] if row[0] == str(number))
        assert row[1] == ", ".join(sorted(name for name, fold in folds.items() if fold == number))
        (row,) = (row for row in tables["Every fold"] if row[0] == str(number))
        assert row[1:4] == ["3", "3", "none yet"]
        by_hand = np.mean([hits[name] for name, fold in folds.items() if fold == number])
        table = tables["sex: by fold, and over all held-out subjects"]
        place = table[0].index("accuracy")
        (row,) = (row for row in table if row[0] == f"fold {number}")
        assert float(row[place]) == pytest.approx(by_hand, abs=1e-3)
    every = list(errors.values())
    assert tables["ct: by fold, and over all held-out subjects"][-1] == [
        "all held out", f"{np.mean(every):.4g} ± {np.std(every, ddof=1):.3g}",
    ]  # fmt: skip
    assert 'href="../fold_2/report/report.html"' in text
    assert "../fold_1/" not in text
    assert "the page of fold 1" in text
    assert "no measures of held-out subjects yet of age" in text
    assert {path.name for path in (page.parent / "figures").iterdir()} == {"folds.png", "folds.pdf"}


def test_the_mean_curve_is_over_the_folds_that_have_the_quantity_where_all_of_them_have_a_value():
    folds = {
        "fold 1": {"iteration": np.array([1.0, 2, 3]), "loss": np.array([4.0, np.nan, 2])},
        "fold 2": {"iteration": np.array([1.0, 3, 4]), "loss": np.array([2.0, 1, 9])},
        "fold 3": {"iteration": np.array([1.0]), "dice": np.array([0.5])},
    }
    places, means = mean_curve(folds, "loss")
    np.testing.assert_array_equal(places, [1, 3])
    np.testing.assert_allclose(means, [3.0, 1.5])


@pytest.mark.slow
def test_results_of_other_networks_are_in_the_way(trained, reporter):
    config, _ = trained
    run.infer(config)
    other = of_fold(config, None, inference_iter=2)
    with pytest.raises(DataError, match="exists and was made by another checkpoint or other settings"):
        run.infer(other)
    run.infer(config, reporter)
    assert any(text.startswith("nothing to infer") for text in reporter.messages)


@pytest.mark.slow
def test_mirrored_predictions_of_a_run_are_means_of_what_it_says_of_both(trained, tmp_path):
    """Of an image file that is mirrored along x, the prediction is mirrored, too."""
    config, _ = trained
    folder = config.system.model_dir / "fold_1"
    subject = config.sources["MR"].path_to_search[0] / "p0_a_mr.nii.gz"
    image = nib.load(subject)
    (tmp_path / "m").mkdir()
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine), tmp_path / "m" / "q_mr.nii.gz")

    def predicted(path, name, *overrides):
        predict(read_trained_run(str(folder), overrides), [str(path)], tmp_path / name)
        (volume,) = (tmp_path / name).glob("*_ct_predicted.nii.gz")
        (row,) = values_of(tmp_path / name).values()
        return np.asarray(nib.load(volume).dataobj), float(row["age"])

    plain, mirror = predicted(subject, "plain"), predicted(tmp_path / "m" / "q_mr.nii.gz", "mirror")
    both = predicted(subject, "both", ("INFERENCE.flipping_axes", "0"))
    assert np.abs(plain[0] - mirror[0][::-1]).max() > 1e-3  # the network is not symmetric
    np.testing.assert_allclose(both[0], (plain[0] + mirror[0][::-1]) / 2, rtol=1e-4, atol=1e-4)
    assert both[1] == pytest.approx((plain[1] + mirror[1]) / 2, rel=1e-4)


@pytest.mark.slow
def test_folds_are_not_changed_silently(trained, configure, tmp_path):
    config, _ = trained
    other = replace(config, training=config.training.model_copy(update={"folds": 3}))
    with pytest.raises(DataError, match=r"folds.csv: has folds 1, 2, and \[TRAINING\] folds = 3 says 1 to 3"):
        run.train(other)
    split = fold_config(config, 2).system.dataset_split_file
    kept = split.read_text()
    moved = kept.replace(",validation", ",training")
    split.write_text(moved)
    try:
        with pytest.raises(DataError, match="fold_2/dataset_split.csv: subject .* is for training there, otherwise"):
            run.train(config)
    finally:
        split.write_text(kept)
    with pytest.raises(
        ConfigError, match=r"fold_1/checkpoints was trained with .*'age': \[0.01, .* now says .*'age': \[0.5"
    ):
        run.train(replace(config, tasks={**config.tasks, "age": config.tasks["age"].model_copy(update={"scale": 0.5})}))
    for refused in (lambda: write_report(config, activations=True), lambda: export_network(config)):
        with pytest.raises(
            ConfigError,
            match="folds = 2 has as many runs, and (report of activation .*|export) takes one: add --fold 1",
        ):
            refused()
    with pytest.raises(DataError, match="there are no folds yet; train first"):
        run.infer(configure(tmp_path))


def test_groups_share_a_fold_and_strata_are_spread(configure, tmp_path, reporter):
    grouped = configure(tmp_path, {"TRAINING.fold_groups": "^(.+)_[ab]$", "TRAINING.exclude_fraction_for_inference": 0})
    folds = find_folds(grouped, find_cohort(grouped))
    assert all(folds[f"p{number}_a"] == folds[f"p{number}_b"] for number in range(4))
    by_sex = configure(tmp_path, {"TRAINING.fold_strata": "sex", "TRAINING.exclude_fraction_for_inference": 0})
    folds = find_folds(by_sex, find_cohort(by_sex))
    assert sorted(folds[IDS[number]] for number in (1, 4, 6)) in ([1, 1, 2], [1, 2, 2])
    for seed in range(4):
        by_age = configure(tmp_path, {
            "TRAINING.fold_strata": "age", "TRAINING.exclude_fraction_for_inference": 0, "SYSTEM.seed": seed
        })  # fmt: skip
        folds = find_folds(by_age, find_cohort(by_age))
        # Fifths of eight: 2, 2, 1, 2, 1 subjects; pairs are parted.
        assert all(folds[IDS[first]] != folds[IDS[first + 1]] for first in (0, 2, 5))
    assert check_run(by_age, reporter)
    assert reporter.tables["folds"][1][0][:2] == [1, 4]
    assert not (tmp_path / "model").exists()
    wrong = configure(tmp_path, {"TRAINING.fold_groups": "^q"})
    with pytest.raises(DataError, match=r"fold_groups = '\^q' matches nothing in the subject id 'p"):
        find_folds(wrong, find_cohort(wrong))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"folds": 1}, "folds = '1' trains on nobody"),
        ({"folds": 0, "fold": 1}, "fold = '1' has no meaning without folds"),
        ({"folds": "", "fold_strata": "sex"}, "fold_strata = 'sex' has no meaning without folds"),
        ({"fold": 4}, "fold = '4' is above folds = 2"),
        ({"exclude_fraction_for_validation": 0.2}, "stands beside folds = 2, which hold out every subject in turn"),
        ({"fold_strata": "sax"}, "fold_strata = 'sax' is no task, did you mean 'sex'"),
        ({"fold_strata": "ct"}, "has no class or number for each subject"),
    ],
)
def test_settings_that_contradict_folds_are_refused(configure, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        configure(tmp_path, {f"TRAINING.{key}": value for key, value in overrides.items()})


def test_several_workers_of_one_training_take_one_fold(configure, tmp_path):
    with pytest.raises(ConfigError, match="trains one network per process, and all folds are several; add --fold 1"):
        run.train(configure(tmp_path, {"SYSTEM.strategy": "multi_worker"}))


def test_an_axis_of_slices_is_not_mirrored(configure, tmp_path):
    with pytest.raises(ConfigError, match="flipping_axes = '2' mirrors axis 2, which has one voxel"):
        configure(tmp_path, {"MR.spatial_window_size": "8, 6, 1", "INFERENCE.flipping_axes": 2,
                             "MULTITASK.tasks": "ct"})  # fmt: skip
