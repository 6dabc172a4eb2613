"""`sfgkeras check` says all that is wrong, and what training will see, without making anything."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from sfgkeras import cli
from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.config import read_config

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 8, 8, 1

[CT]
path_to_search = {folder}
filename_contains = _ct

[ORGANS]
path_to_search = {folder}
filename_contains = _organs

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
batch_size = 3

[TRAINING]
max_iter = 77
grouping_lr = 0.1
exclude_fraction_for_inference = 0.5

[MULTITASK]
image = MR
tasks = ct, organs
gs_anneal_r = 0.03

[TASK ct]
type = regression
target = CT

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3
loss = dice
weight = 2
"""
IDS = [f"s{i}" for i in range(4)]
SHAPE, AFFINE = (12, 10, 4), np.diag([3.0, 3.0, 4.0, 1.0])


def write(folder, subject_id, source, array, affine=AFFINE):
    path = folder / f"{subject_id}_{source}.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for subject_id in IDS:
        write(tmp_path, subject_id, "mr", rng.normal(100, 9, SHAPE).astype(np.float32))
        write(tmp_path, subject_id, "pd", rng.normal(100, 9, SHAPE).astype(np.float32))
        write(tmp_path, subject_id, "ct", rng.integers(-900, 900, SHAPE).astype(np.int16))
        write(tmp_path, subject_id, "organs", rng.integers(0, 3, SHAPE).astype(np.uint8))
    return tmp_path


def configure(folder, *overrides):
    path = folder / "run.ini"
    path.write_text(INI.format(folder=folder))
    return read_config(path, overrides)


def trained_on(folder):
    """A training subject of the split that is drawn."""
    return find_cohort(configure(folder)).split["training"][0]


def test_sound_files_pass_and_the_plan_is_shown(folder, reporter):
    assert check_run(configure(folder), reporter)
    assert reporter.warnings == []
    assert "nothing wrong was found" in reporter.messages
    columns, rows = reporter.tables["subjects"]
    assert columns == ["phase", "number", "with all targets", "first"]
    assert [row[:3] for row in rows] == [["training", 2, 2], ["validation", 0, 0], ["inference", 2, 2]]
    assert reporter.tables["tasks"][1] == [
        ["ct", "regression", "CT", "voxel", "rmse", 1.0],
        ["organs", "segmentation", "ORGANS", "voxel", "dice", 2.0],
    ]  # fmt: skip
    assert any("windows 8 x 8 x 1; batches of 3; 77 iterations" in text for text in reporter.messages)


def test_the_plan_counts_epochs_and_shows_what_tasks_say_to_the_balancing_rule(folder, reporter):
    learned = [("TRAINING.balancing", "uncertainty"), ("TASK organs.weight", "1"), ("TASK organs.log_sigma", "4")]
    epochs = [("TRAINING.max_iter", ""), ("TRAINING.max_epochs", "10"), ("TRAINING.sample_per_volume", "2")]
    assert check_run(configure(folder, *learned, *epochs), reporter)
    columns, rows = reporter.tables["tasks"]
    assert columns[-1] == "log_sigma"
    assert [row[-1] for row in rows] == [0, 4.0]
    # Ten epochs of two subjects with two windows each, by batches of three.
    assert any("batches of 3; 14 iterations, 10 epochs" in text for text in reporter.messages)


def test_checking_makes_no_file(folder, reporter):
    before = sorted(folder.rglob("*"))
    check_run(configure(folder), reporter)
    assert sorted(set(folder.rglob("*")) - {folder / "run.ini"}) == sorted(set(before) - {folder / "run.ini"})


def test_all_problems_of_all_files_are_listed_with_their_files(folder, reporter):
    first = trained_on(folder)
    nan = np.full(SHAPE, 5, np.float32)
    nan[0, 0, :2] = np.nan
    paths = [
        write(folder, first, "mr", nan),
        write(folder, first, "ct", np.zeros((12, 10, 5), np.int16)),
        write(folder, first, "organs", np.full(SHAPE, 9, np.uint8)),
    ]
    assert not check_run(configure(folder), reporter)
    for path, words in zip(paths, ("2 of its 480 voxels are NaN", "12 x 10 x 5", r"9) outside 0 to 2"), strict=True):
        assert any(text.startswith(str(path)) and words in text for text in reporter.messages), words
    assert any(text.startswith("3 errors, ") for text in reporter.messages)


def test_without_voxels_only_headers_are_judged(folder, reporter):
    write(folder, trained_on(folder), "organs", np.full(SHAPE, 9, np.uint8))
    assert check_run(configure(folder), reporter, read_voxels=False)
    assert not check_run(configure(folder), reporter, read_voxels=True)


def test_a_constant_image_is_a_warning_not_an_error(folder, reporter):
    path = write(folder, trained_on(folder), "mr", np.full(SHAPE, 5, np.float32))
    assert check_run(configure(folder), reporter)
    assert any(text.startswith(f"{path}: holds the value 5 only") for text in reporter.warnings)
    assert "0 errors, 1 warning" in reporter.messages


def test_ids_that_match_nothing_are_warnings(folder, reporter):
    path = write(folder, "other", "ct", np.zeros(SHAPE, np.int16))
    (folder / "s2_organs.nii.gz").unlink()
    assert check_run(configure(folder), reporter)
    assert any(text.startswith(f"{path}: 1 of 5 ids of [CT] match no subject") for text in reporter.warnings)
    assert any("1 of 4 subjects has no target" in text and "'s2'" in text for text in reporter.warnings)


def test_a_training_subject_of_the_split_file_without_target_is_an_error(folder, reporter):
    config = configure(folder)
    config.system.model_dir.mkdir()
    config.system.dataset_split_file.write_text("s0,training\ns1,training\ns2,inference\n")
    (folder / "s1_ct.nii.gz").unlink()
    (folder / "s2_ct.nii.gz").unlink()
    assert not check_run(config, reporter)
    assert any("subject 's1' has no file in [CT]" in text for text in reporter.messages)
    assert not any("'s2'" in text for text in reporter.messages)


def test_an_image_to_infer_is_checked_but_its_target_is_not(folder, reporter):
    config = configure(folder)
    config.system.model_dir.mkdir()
    config.system.dataset_split_file.write_text("s0,training\ns1,inference\n")
    path = write(folder, "s1", "ct", np.zeros((3, 3, 3), np.int16))
    assert check_run(config, reporter)
    path = write(folder, "s1", "mr", np.zeros((3, 3, 3), np.float32))
    assert not check_run(config, reporter)
    assert any(text.startswith(f"{path}: is 3 x 3 x 3, smaller than the window") for text in reporter.messages)


def test_sources_with_pixdim_may_differ_in_grid_but_not_in_place(folder, reporter):
    first = trained_on(folder)
    write(folder, first, "ct", np.zeros((20, 20, 9), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    pixdim = [(f"{name}.pixdim", "3, 3, 4") for name in ("MR", "CT", "ORGANS")]
    assert check_run(configure(folder, *pixdim), reporter)
    far = AFFINE.copy()
    far[:3, 3] = 500
    path = write(folder, first, "ct", np.zeros(SHAPE, np.int16), far)
    assert not check_run(configure(folder, *pixdim), reporter)
    assert any(text.startswith(f"{path}: lies outside its image") for text in reporter.messages)


def test_a_second_image_without_pixdim_must_lie_on_the_first_ones_grid(folder, reporter):
    path = write(folder, trained_on(folder), "pd", np.zeros((20, 20, 9), np.float32))
    overrides = [
        ("MULTITASK.image", "MR, PD"), ("PD.path_to_search", str(folder)), ("PD.filename_contains", "_pd"),
        *((f"{name}.pixdim", "3, 3, 4") for name in ("MR", "CT", "ORGANS")),
    ]  # fmt: skip
    assert not check_run(configure(folder, *overrides), reporter)
    assert any(text.startswith(f"{path}: its grid") for text in reporter.messages)


def test_the_labels_that_balanced_windows_are_drawn_by_must_be_integers(folder, reporter):
    overrides = [
        ("NETWORK.window_sampling", "balanced"), ("MULTITASK.sampler", "ZONES"),
        ("ZONES.path_to_search", str(folder)), ("ZONES.filename_contains", "_zones"),
    ]  # fmt: skip
    for subject_id in IDS:
        write(folder, subject_id, "zones", np.full(SHAPE, 7, np.uint8))
    assert check_run(configure(folder, *overrides), reporter)
    path = write(folder, trained_on(folder), "zones", np.full(SHAPE, 0.5, np.float32))
    assert not check_run(configure(folder, *overrides), reporter)
    assert any(text.startswith(f"{path}: is no label map") for text in reporter.messages)


def test_scalar_targets_are_checked_too(folder, reporter):
    table = folder / "ages.csv"
    table.write_text("subject_id,age\n" + "".join(f"{i},{age}\n" for i, age in zip(IDS, "12ab", strict=True)))
    overrides = [
        ("AGES.csv_file", str(table)), ("AGES.loader", "table"), ("NETWORK.name", "vgg11"), ("MULTITASK.tasks", "age"),
        ("TASK age.type", "regression"), ("TASK age.target", "AGES"), ("TASK age.per", "window"),
        ("TRAINING.exclude_fraction_for_inference", "0"),
    ]  # fmt: skip
    assert not check_run(configure(folder, *overrides), reporter)
    wrong = [text for text in reporter.messages if "is not a number" in text]
    assert [text.split(": ")[:2] for text in wrong] == [[str(table), "subject 's2'"], [str(table), "subject 's3'"]]
    assert any(text.startswith("2 errors") for text in reporter.messages)


def test_the_verb_ends_with_two_where_training_could_not_start(folder, capsys):
    ini = folder / "run.ini"
    configure(folder)
    cli.main(["check", "-c", str(ini)])
    assert "nothing wrong was found" in capsys.readouterr().out
    path = write(folder, trained_on(folder), "organs", np.full(SHAPE, 9, np.uint8))
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "-c", str(ini)])
    assert stop.value.code == 2
    assert str(path) in capsys.readouterr().out
    cli.main(["check", "-c", str(ini), "--headers-only"])


def test_checking_loads_no_tensorflow(folder):
    configure(folder)
    code = (
        "import sys\nfrom sfgkeras.cli import main\n"
        f"main(['check', '-c', {str(folder / 'run.ini')!r}])\n"
        "print('heavy:', sorted({'tensorflow', 'keras', 'ants'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in result.stdout


def said_by_check(folder, reporter, *overrides):
    check_run(configure(folder, *overrides), reporter)
    return "\n".join(reporter.warnings)


def test_a_phase_of_one_subject_is_said(folder, reporter):
    text = said_by_check(folder, reporter, ("TRAINING.exclude_fraction_for_validation", "0.1"))
    assert "exclude_fraction_for_validation = 0.1 of 4 subjects leaves one subject for validation" in text
    assert "exclude_fraction_for_inference = 0.5 of 4 subjects leaves one subject for inference" not in text


def test_one_training_subject_is_said_and_enough_are_not(folder, reporter):
    text = said_by_check(folder, reporter, ("TRAINING.exclude_fraction_for_inference", "0.75"))
    assert "exclude_fraction_for_inference = 0.75 of 4 subjects leaves one subject for training" in text
    assert "for inference" not in text.replace("exclude_fraction_for_inference", "")
    reporter.warnings.clear()
    assert "leaves" not in said_by_check(folder, reporter, ("TRAINING.exclude_fraction_for_inference", "0.5"))


def test_a_map_that_is_not_in_hounsfield_units_is_said(folder, reporter):
    assert "Hounsfield" not in said_by_check(folder, reporter, ("CT.scaling", "ct"))
    for subject_id in IDS:
        write(folder, subject_id, "ct", np.random.default_rng(1).integers(0, 300, SHAPE).astype(np.int16))
    text = said_by_check(folder, reporter, ("CT.scaling", "ct"))
    assert "has no value below 0 (from " in text
    assert "to 299) and cannot be in Hounsfield units" in text
    assert "remove scaling = ct from [CT]" in text
    reporter.warnings.clear()
    assert "Hounsfield" not in said_by_check(folder, reporter)


@pytest.mark.real_data
def test_a_real_adc_map_is_not_taken_for_a_ct(folder, reporter, real_data):
    adc = nib.load(real_data / "pairs_t2_adc" / "ProstateX-0000" / "adc.nii.gz")
    for subject_id in IDS:
        for name in ("mr", "ct"):
            write(folder, subject_id, name, np.asarray(adc.dataobj), adc.affine)
        labels = np.zeros(adc.shape, np.uint8) + np.arange(adc.shape[2]).clip(0, 2).astype(np.uint8)
        write(folder, subject_id, "organs", labels, adc.affine)
    assert "remove scaling = ct from [CT]" in said_by_check(folder, reporter, ("CT.scaling", "ct")).replace("\n", " ")


def test_classes_that_no_file_has_are_said(folder, reporter):
    assert "never seen" not in said_by_check(folder, reporter, ("TASK organs.num_classes", "4"))
    text = said_by_check(folder, reporter, ("TASK organs.num_classes", "104"))
    assert (
        "num_classes = 104, and the highest label of 2 files in [ORGANS] is 2: classes 3 to 103 are never seen" in text
    )
    assert "set num_classes = 3" in text
