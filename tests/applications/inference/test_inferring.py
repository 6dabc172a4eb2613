"""What stands in the way of inference or export is said before a network is built; nobody is passed over in silence."""

import shutil
import subprocess
import sys

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.inference.results import result_paths
from sfgkeras.applications.records.files import Provenance
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter


def never():
    raise AssertionError("a network was about to be built")


@pytest.fixture(scope="module")
def trained(config_maker, cohort, tmp_path_factory):
    """A function that makes configurations of a trained run over a copy of the cohort, `images` beside `model`."""
    folder = tmp_path_factory.mktemp("inferring")
    shutil.copytree(cohort, folder / "images")
    make = config_maker(folder)
    sources = {f"{name}.path_to_search": folder / "images" for name in ("MR", "CT", "ORGANS")}

    def configure(overrides=None):
        return make({**sources, "TRAINING.max_iter": 1, "INFERENCE.save_seg_dir": "none", **(overrides or {})})

    run.train(configure())
    return configure


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"SYSTEM.model_dir": "nowhere"}, DataError, "no checkpoint; train first"),
        ({"INFERENCE.inference_iter": 77}, DataError, "may be one of: 0, 1"),
        ({"NETWORK.width": 0.5}, ConfigError, r"trained with width = 0\.25"),
        ({"NETWORK.histogram_ref_file": "none.json"}, DataError, r"none\.json: no histogram landmarks"),
    ],
)
def test_a_run_that_cannot_be_used_is_refused_before_a_network_is_built(trained, overrides, error, words):
    for verb in (run.infer, export_network):
        with pytest.raises(error, match=words):
            verb(trained(overrides), before_network=never)


def test_subjects_and_folders_that_cannot_be_used_are_refused_before_a_network_is_built(trained):
    config = trained({"INFERENCE.save_seg_dir": "taken"})
    split = config.system.dataset_split_file
    (subject_id,) = read_split(split)["inference"]
    session = open_session(config, SilentReporter(), training=False)
    config.inference.save_seg_dir.mkdir()
    path = result_paths(session, session.cohort.subjects[subject_id])[0]
    path.touch()
    with pytest.raises(DataError, match=f"{path} exists .* --overwrite"):
        run.infer(config, before_network=never)
    assert not Provenance(config.inference.save_seg_dir, "x").is_done([path])
    empty = split.with_name("empty.csv")
    empty.write_text("".join(f"{name},training\n" for ids in read_split(split).values() for name in ids))
    with pytest.raises(DataError, match="no subject has the phase 'inference'"):
        run.infer(trained({"SYSTEM.dataset_split_file": empty}), before_network=never)
    image = session.cohort.subjects[subject_id].images["MR"].path
    content = image.read_bytes()
    image.write_bytes(content[:-1000])
    try:
        with pytest.raises(DataError, match=f"{image}: .*truncated"):
            run.infer(trained(), before_network=never)
    finally:
        image.write_bytes(content)


def test_a_new_image_without_a_phase_is_not_passed_over_in_silence(trained, reporter):
    config = trained({"INFERENCE.save_seg_dir": "before"})
    run.infer(config, reporter)
    assert not any("passed over" in text for text in reporter.warnings)
    folder = config.sources["MR"].path_to_search[0]
    shutil.copy(next(folder.glob("*_mr.nii.gz")), folder / "newcomer_mr.nii.gz")
    try:
        run.infer(config, reporter)
        said = [text for text in reporter.warnings if "passed over" in text]
        assert len(said) == 1
        assert said[0].startswith(f"{config.system.dataset_split_file}: 1 of 5 subjects are in none of its phases")
        assert "'newcomer'" in said[0]
        assert "sfgkeras predict" in said[0]
    finally:
        (folder / "newcomer_mr.nii.gz").unlink()


@pytest.mark.parametrize("verb", ["inference", "export"])
def test_the_command_line_refuses_without_loading_tensorflow(trained, verb):
    config = trained()
    code = (
        "import sys\nfrom sfgkeras.cli import main\n"
        f"try:\n    main([{verb!r}, '-c', {str(config.path)!r}, '--INFERENCE.inference_iter', '77'])\n"
        "except SystemExit as end:\n    print(end.code, sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "2 []"
    assert "no such checkpoint" in result.stderr
