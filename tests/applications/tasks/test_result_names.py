import pytest

from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.tasks.result_names import name_problems, refuse_unusable_names
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.data.file_search import find_files
from sfgkeras.errors import DataError

from ..conftest import INI

TWO = INI.replace("[TASK organs]", "[TASK low_ct]").replace("ct, organs", "ct, low_ct")


def write_lists(folder, cohort, ids):
    """Writes lists of one phantom's files under several ids; returns the overrides that name them."""
    overrides = {}
    for source in ("MR", "CT", "ORGANS"):
        path = folder / f"{source}.csv"
        name = f"{cohort}/phantom_000_{source.lower()}.nii.gz"
        path.write_text("".join(f"{subject_id},{name}\n" for subject_id in ids))
        overrides[f"{source}.csv_file"] = path
    return {**overrides, "TRAINING.exclude_fraction_for_inference": 0, "TRAINING.exclude_fraction_for_validation": 0}


def test_two_results_of_one_name_are_refused_before_training_and_by_check(make_config, cohort, tmp_path, reporter):
    lists = write_lists(tmp_path, cohort, ["p1", "p1_low", "p2"])
    config = make_config({**lists, "TRAINING.validation_every_n": 0}, text=TWO)
    message = r"p1_low_ct_predicted\.nii\.gz: would be a result of subject 'p1' and of subject 'p1_low'; rename a task"
    with pytest.raises(DataError, match=message):
        open_session(config, reporter, training=True)
    assert not config.system.dataset_split_file.exists()
    assert not check_run(config, reporter, read_voxels=False)
    assert any("would be a result of subject 'p1'" in text for text in reporter.messages)


def test_names_that_differ_in_the_case_of_letters_only_count_as_one(make_config):
    config = make_config()
    tasks = build_tasks(config)
    assert not list(name_problems(config, tasks, ["a", "b"]))
    assert len(list(name_problems(config, tasks, ["a", "A"]))) == len(tasks)


def test_a_result_whose_name_is_too_long_is_refused_before_training(make_config):
    config = make_config({"INFERENCE.output_postfix": "_" + "p" * 60})
    tasks = build_tasks(config)
    fits = 255 - len("_organs_" + "p" * 60 + ".nii.gz")
    refuse_unusable_names(config, tasks, ["s" * fits])
    with pytest.raises(DataError, match="has 256 bytes, and a file's name 255 at most; shorten the subject id"):
        refuse_unusable_names(config, tasks, ["s" * (fits + 1)])


def test_an_id_in_a_list_that_leads_out_of_the_folder_is_found_before_anything_is_written(
    make_config, cohort, tmp_path, reporter
):
    config = make_config(write_lists(tmp_path, cohort, ["p1", "../../evil0"]))
    with pytest.raises(DataError, match=r"MR\.csv:2: the subject id '\.\./\.\./evil0' leads into another folder"):
        find_cohort(config)


def test_a_file_whose_name_gives_an_unusable_id_is_named(tmp_path):
    (tmp_path / "a\x07b_mr.nii").touch()
    with pytest.raises(DataError, match="the subject id .* has the control character"):
        find_files([tmp_path], ["_mr"])
