"""No verb writes over what it, or another verb of the configuration, reads."""

import shutil

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.inference import inferring
from sfgkeras.applications.records.files import IN_EFFECT, RunFolder, keep_configuration, prediction_path
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError, DataError

PLAIN = {"NETWORK.normalisation": "no"}


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def own_cohort(cohort, tmp_path):
    """A copy of the cohort that a test may endanger, and the overrides that name it."""
    folder = tmp_path / "data"
    shutil.copytree(cohort, folder)
    return folder, {f"{name}.path_to_search": folder for name in ("MR", "CT", "ORGANS")}


@pytest.mark.parametrize("overwrite", [False, True])
def test_inference_never_replaces_the_truth(make_started, own_cohort, overwrite):
    data, sources = own_cohort
    config = make_started({**PLAIN, **sources, "INFERENCE.save_seg_dir": data, "INFERENCE.output_postfix": ""})
    before = contents(data)
    with pytest.raises(DataError, match=r"_(ct|organs)\.nii\.gz: would be written over, and it is read"):
        run.infer(config, dataset="all", overwrite=overwrite)
    assert contents(data) == before


def test_inference_never_replaces_files_of_a_source_that_nothing_refers_to(make_started, own_cohort):
    data, sources = own_cohort
    spare = f"[SPARE]\npath_to_search = {data}/spare\nfilename_contains = predicted\n"
    (data / "spare").mkdir()
    mine = data / "spare" / "phantom_000_ct_predicted.nii.gz"
    shutil.copy(data / "phantom_000_ct.nii.gz", mine)
    config = make_started({**PLAIN, **sources, "INFERENCE.save_seg_dir": data / "spare"}, extra=spare)
    with pytest.raises(DataError, match="phantom_000_ct_predicted.nii.gz: would be written over"):
        run.infer(config, dataset="all", overwrite=True)


def test_strangers_that_inference_replaces_when_asked_are_named(make_started, reporter, monkeypatch):
    config = make_started(PLAIN)
    stranger = config.inference.save_seg_dir / "phantom_001_ct_predicted.nii.gz"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"mine")
    for work in ("_load", "build_predictor", "build_passes", "infer_volumes"):
        monkeypatch.setattr(inferring, work, lambda *_: None)
    with pytest.raises(DataError, match="phantom_001_ct_predicted.nii.gz exists and was made by another"):
        run.infer(config, reporter, dataset="all")
    run.infer(config, reporter, dataset="all", overwrite=True)
    assert any("replaces files that no inference made there (1 file: phantom_001_ct" in w for w in reporter.warnings)


def test_training_keeps_a_configuration_of_the_users_own(make_config, tmp_path):
    config = make_config()
    folder = config.system.model_dir
    folder.mkdir()
    own = folder / "configuration.ini"
    own.write_text(f"# mine\n{config.path.read_text()}")
    before = own.read_bytes()
    read = read_config(own, [("TRAINING.max_iter", "3")])
    assert keep_configuration(read) == folder / IN_EFFECT
    assert own.read_bytes() == before
    assert RunFolder(folder).configuration == folder / IN_EFFECT
    assert read_config(folder / IN_EFFECT) == read
    # Another INI file does not replace it either.
    assert keep_configuration(config) == folder / IN_EFFECT
    assert own.read_bytes() == before


def test_training_replaces_the_configuration_that_it_wrote_but_not_while_it_reads_it(make_config):
    first = make_config({"TRAINING.max_iter": 1})
    written = keep_configuration(first)
    assert written.name == "configuration.ini"
    second = make_config({"TRAINING.max_iter": 2})
    assert keep_configuration(second) == written
    assert read_config(written) == second
    again = read_config(written, [("TRAINING.max_iter", "7")])
    assert keep_configuration(again).name == IN_EFFECT
    assert read_config(written) == second


def test_a_list_of_files_that_lies_where_the_run_writes_its_log_is_refused(make_config, cohort):
    config = make_config()
    table = config.system.model_dir / "logs" / "training.csv"
    table.parent.mkdir(parents=True)
    table.write_text("".join(f"phantom_00{i},{cohort}/phantom_00{i}_mr.nii.gz\n" for i in range(4)))
    with pytest.raises(DataError, match=r"training\.csv: would be written over, .*another \[SYSTEM\] model_dir"):
        open_session(make_config({"MR.csv_file": table}), run.SilentReporter(), training=True)


def test_restart_does_not_remove_the_state_that_it_starts_from(make_started):
    config = make_started({"TRAINING.restore_from": "model/checkpoints"})
    state = config.system.model_dir / "checkpoints" / "iteration_000000000.npz"
    config = make_started({"TRAINING.restore_from": state})
    with pytest.raises(DataError, match="iteration_000000000.npz: would be written over"):
        run.train(config, restart=True)
    assert state.is_file()


def test_evaluation_does_not_replace_a_table_that_is_read(make_config, cohort):
    table = make_config().evaluation.save_csv_dir / "ct_subjects.csv"
    table.parent.mkdir(parents=True)
    table.write_text("".join(f"phantom_00{i},{cohort}/phantom_00{i}_mr.nii.gz\n" for i in range(4)))
    config = make_config({**PLAIN, "MR.csv_file": table})
    before = table.read_bytes()
    with pytest.raises(DataError, match=r"ct_subjects\.csv: would be written over, .*save_csv_dir"):
        run.evaluate(config, dataset="all")
    assert table.read_bytes() == before


def test_evaluation_does_not_replace_a_table_of_somebody_else(make_config):
    config = make_config(PLAIN)
    table = config.evaluation.save_csv_dir / "organs_summary.csv"
    table.parent.mkdir(parents=True)
    table.write_text("scanner,site\nA,Bonn\n")
    with pytest.raises(DataError, match=r"organs_summary\.csv: is no table of an evaluation \(scanner, site\)"):
        run.evaluate(config, dataset="all")
    assert table.read_text() == "scanner,site\nA,Bonn\n"
    table.write_text("measure,mean\n")
    with pytest.raises(DataError, match="no prediction of subject"):
        run.evaluate(config, dataset="all")


def test_a_run_may_keep_what_it_reads_and_writes_in_one_folder(make_config, cohort, reporter):
    own = {"EVALUATION.save_csv_dir": ".", "NETWORK.histogram_ref_file": "logs/landmarks.json"}
    for _ in range(2):
        config = make_config({**own, "TRAINING.validation_every_n": 0})
        open_session(config, reporter, training=True)
    with pytest.raises(DataError, match="no prediction of subject"):
        run.evaluate(config, reporter, dataset="all")


def test_a_subject_id_never_leads_a_result_out_of_its_folder(make_config):
    with pytest.raises(DataError, match="leads out of"):
        prediction_path(make_config(), "../../evil0", "ct")


def test_preprocessing_from_an_ini_file_replaces_what_others_made_only_when_asked(make_config, reporter, tmp_path):
    from sfgkeras.applications.subjects.preprocessed import preprocess

    config = make_config(
        {"PREPROCESSING.steps": "whiten", "PREPROCESSING.pictures": "no", "NETWORK.normalisation": "no"},
    )
    foreign = config.preprocessing.output / "MR" / "phantom_002.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="1 file: phantom_002.nii.gz"):
        preprocess(config, reporter)
    assert foreign.read_bytes() == b"mine"
    assert preprocess(config, reporter, overwrite=True) == 0
    assert foreign.read_bytes() != b"mine"
