"""Feature maps of several runs on the same slices, on the page of one of them."""

from pathlib import Path

import pytest

from sfgkeras.analysis.feature_maps import read_feature_maps
from sfgkeras.applications.report.features import collect_features, name_runs, short_run_names
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.run import train
from sfgkeras.errors import ConfigError
from sfgkeras.reporter import SilentReporter

UNTRAINED = {
    "NETWORK.width": 0.0625,
    "NETWORK.normalisation": "no",
    "TRAINING.max_iter": 0,
    "TRAINING.validation_every_n": 0,
    "MULTITASK.loss_border": 0,
}


@pytest.fixture
def two_runs(make_config, tmp_path):
    """Runs that are saved as they begin: hard sharing, and one task alone, on the same split."""
    split = {"SYSTEM.dataset_split_file": tmp_path / "split.csv"}
    first = make_config({**UNTRAINED, **split}, model_dir=tmp_path / "both" / "seed_0")
    second = make_config({**UNTRAINED, **split, "MULTITASK.tasks": "organs"}, model_dir=tmp_path / "one" / "seed_0")
    for config in (first, second):
        train(config)
    return first, second


def test_model_folders_are_named_by_what_differs(tmp_path):
    folders = [Path("/a/base/seed_0"), Path("/a/mtl/seed_0"), Path("/b/mtl/seed_1")]
    assert short_run_names(folders) == ["base/seed_0", "mtl/seed_0", "mtl/seed_1"]
    assert short_run_names([Path("/a/base"), Path("/a/mtl")]) == ["base", "mtl"]
    with pytest.raises(ConfigError, match="is given twice"):
        short_run_names([Path("/a/base"), Path("/a/base")])


def test_feature_maps_of_two_runs_are_drawn_on_the_page_and_kept(two_runs, make_config):
    first, second = two_runs
    beside = name_runs(first, [str(second.system.model_dir)])
    assert list(beside) == ["one/seed_0"]
    page = write_report(first, beside=beside)
    maps = read_feature_maps(page.parent / "features.npz")
    assert maps.runs == ("both/seed_0", "one/seed_0")
    assert maps.stages == [f"stage_{number}" for number in range(1, 6)]
    assert {image.shape for run in maps.runs for found in maps.maps[run].values() for image in found} == {
        maps.images[0].shape
    }
    assert len(maps.slices) == 2
    assert (page.parent / "figures" / "features_2.png").is_file()
    text = page.read_text(encoding="utf-8")
    assert f"Feature maps of {maps.slices[0]}" in text
    # Without the other run they are those of the last time.
    (page.parent / "figures" / "features_2.png").unlink()
    write_report(first)
    assert (page.parent / "figures" / "features_2.png").is_file()
    # A run that sees other slices is not put beside this one.
    other = make_config({**UNTRAINED, "MR.pixdim": "16,16,16", "CT.pixdim": "16,16,16", "ORGANS.pixdim": "16,16,16"})
    train(other)
    with pytest.raises(ConfigError, match="other sees slices of .* pixels and first of"):
        collect_features({"first": first, "other": other}, SilentReporter(), [(maps.slices[0].split(",")[0], 3)])
