"""NiftyNet's own files pass `check` as they are but for their paths, and `convert` writes them as ours."""

import sys
from pathlib import Path

import pytest

from sfgkeras import cli
from sfgkeras.applications.check import check_run
from sfgkeras.applications.convert.conversion import convert
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import niftynet_configs as files  # noqa: E402

# What has no counterpart here: adversarial networks, autoencoders, learned registration, NiftyNet's first format.
REFUSED = {"GAN_demo_train_config", "vae_config", "label_driven_registration", "default_eval_config"}
# 128 windows of 57 x 57 x 57 with 160 classes: NiftyNet's DeepMedic gives smaller maps than it reads.
LARGE = {"deepmedic_config"}
AS_THEY_ARE = {
    "default_monomodal_regression", "default_monomodal_regression_eval", "highres3dnet_config",
    "unet_config", "weighted_sample_regression",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("niftynet")
    files.write_cohort(folder)
    return folder


@pytest.mark.parametrize("name", files.CONFIG)
def test_files_of_the_config_folder_need_no_line_but_paths_and_networks(name, data, tmp_path):
    outcome = files.try_file(name, files.CONFIG[name], data, tmp_path)
    if name in REFUSED:
        assert "does not exist in this version; " in outcome.refused
        return
    if name in LARGE and "GiB of memory" in outcome.refused:
        return
    assert outcome.refused == ""
    assert outcome.passes == (name in AS_THEY_ARE)
    assert outcome.passes or outcome.renamed.endswith(("-> highresnet", "-> unet"))


def test_at_least_twelve_of_the_eighteen_pass():
    assert len(files.CONFIG) == 18
    assert len(set(files.CONFIG) - REFUSED - LARGE) >= 12


@pytest.mark.parametrize("name", [*files.DEMOS, *files.AUTHORS])
def test_demos_pass_too_and_the_authors_files_without_any_change(name, data, tmp_path):
    outcome = files.try_file(name, {**files.DEMOS, **files.AUTHORS}[name], data, tmp_path)
    assert outcome.refused == ""
    assert outcome.passes or name in ("promise12_demo_train", "selective_seg")
    assert all("no effect" in text for text in outcome.told if "[SEGMENTATION]" in text)


def test_the_page_holds_the_table_of_today(data, tmp_path):
    page = (ROOT / "docs" / "niftynet.md").read_text(encoding="utf-8")
    assert files.MARK[0] in page
    assert "python benchmarks/niftynet_configs.py" in page
    found = page.partition(files.MARK[0])[2].partition(files.MARK[1])[0]
    for name in (*files.CONFIG, *files.DEMOS, *files.AUTHORS):
        row = next(line for line in found.splitlines() if line.startswith(f"| {name} |"))
        assert name in LARGE or ("| refused |" in row) == (name in REFUSED)
    assert "**13 of 18**" in found or "**14 of 18**" in found


@pytest.fixture
def old(data, tmp_path, monkeypatch):
    """NiftyNet's file with what is moved, renamed, without effect, refused and misspelt."""
    monkeypatch.chdir(tmp_path)
    sections = {key: dict(entries) for key, entries in files.CONFIG["default_multimodal_segmentation"].items()}
    sections["SEGMENTATION"]["spatial_rank"] = "3"
    sections["NETWORK"]["rgb_normalisation"] = "True"
    sections["TRAINING"]["learning_rate"] = "0.1"
    files.write_ini(tmp_path / "old.ini", sections, data, tmp_path / "model")
    return tmp_path / "old.ini"


def test_a_converted_file_passes_and_tells_each_changed_line(old, tmp_path, reporter):
    convert(old, tmp_path / "new.ini", reporter)
    config = read_run(tmp_path / "new.ini")
    assert check_run(config, reporter)
    assert not [text for text in config.warnings if "belongs in" in text or "no effect:" in text]
    assert (config.network.name, config.network.queue_length, config.training.lr) == ("highresnet", 20, 0.01)
    lines = (tmp_path / "new.ini").read_text().splitlines()
    for line, reason in (
        ("queue_length = 20", "now in [NETWORK]"), ("name = toynet", "highresnet stands for it"),
        ("rgb_normalisation = True", "is not supported; use whitening"), ("learning_rate = 0.1", "did you mean 'lr'"),
        ("spatial_rank = 3", "has no effect"),
    ):  # fmt: skip
        place = lines.index(f"# {line}")
        assert lines[place - 1].startswith("# ")
        assert reason in lines[place - 1]
    kept = [line for line in old.read_text().splitlines() if line.strip() and f"# {line}" not in lines]
    assert all(line in lines for line in kept)
    assert any("5 lines of" in text for text in reporter.messages)


def test_the_authors_names_and_switches_become_ours(data, tmp_path, reporter):
    files.write_ini(tmp_path / "old.ini", files.AUTHORS["cross_stich"], data, tmp_path / "model")
    convert(tmp_path / "old.ini", tmp_path / "new.ini", reporter)
    old, new = read_config(tmp_path / "old.ini"), read_config(tmp_path / "new.ini")
    assert new == old
    assert new.network.sharing == "cross_stitch"
    assert len(new.warnings) < len(old.warnings)


def test_what_cannot_be_completed_by_itself_is_said(data, tmp_path, reporter):
    sections = {key: dict(entries) for key, entries in files.CONFIG["highres3dnet_config"].items()}
    del sections["SEGMENTATION"]["num_classes"]
    sections["TRAINING"]["lr"] = "fast"
    files.write_ini(tmp_path / "old.ini", sections, data, tmp_path / "model")
    convert(tmp_path / "old.ini", tmp_path / "new.ini", reporter)
    assert any("has to be completed" in text and "lr = 'fast' is not a number" in text for text in reporter.warnings)
    assert any("needs num_classes" in text for text in reporter.warnings)


def test_nothing_is_replaced_unless_asked(old, tmp_path, capsys):
    (tmp_path / "new.ini").write_text("mine")
    with pytest.raises(SystemExit) as end:
        cli.main(["convert", "old.ini", "new.ini"])
    assert end.value.code == 2
    assert "new.ini: exists; choose another name, or add --overwrite" in capsys.readouterr().err
    assert (tmp_path / "new.ini").read_text() == "mine"
    with pytest.raises(DataError, match="is the file to convert"):
        convert(old, old, None, overwrite=True)
    cli.main(["convert", "old.ini", "new.ini", "--overwrite"])
    assert "[SEGMENTATION]" in (tmp_path / "new.ini").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.ini", "old.ini"]


def test_applications_and_files_of_other_kinds_are_refused(data, tmp_path, reporter):
    files.write_ini(tmp_path / "gan.ini", files.CONFIG["GAN_demo_train_config"], data, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"\[GAN\] does not exist in this version, and nothing stands for it; use"):
        convert(tmp_path / "gan.ini", tmp_path / "new.ini", reporter)
    with pytest.raises(DataError, match=r"old.yaml: has no ending that can be converted; INI files"):
        convert(tmp_path / "old.yaml", tmp_path / "new.ini", reporter)
    assert not (tmp_path / "new.ini").exists()
