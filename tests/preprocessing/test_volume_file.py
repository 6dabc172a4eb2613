import numpy as np

from sfgkeras.preprocessing.folder.half_way import read_volume, write_volume
from sfgkeras.preprocessing.folder.manifest import Record
from sfgkeras.preprocessing.folder.overview import write_overview
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.volume import SideResult, Volume


def test_a_half_prepared_subject_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    sides = (
        SideResult("bias_field", ".nii.gz", rng.random((2, 3, 4)).astype(np.float32), np.eye(4)),
        SideResult("transforms", "_0.mat", content=b"\x00\x01binary"),
    )
    volume = Volume(
        rng.random((3, 4, 5)), np.diag([1, 2, 3, 1.0]), {"a": np.arange(60).reshape(3, 4, 5)}, ("é",), sides
    )
    write_volume(tmp_path / "new" / "x.npz", volume)
    found = read_volume(tmp_path / "new" / "x.npz")
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_array_equal(found.affine, volume.affine)
    np.testing.assert_array_equal(found.labels["a"], volume.labels["a"])
    assert found.notes == ("é",)
    np.testing.assert_array_equal(found.side_results[0].array, sides[0].array)
    assert found.side_results[1].content == b"\x00\x01binary"


def test_a_missing_or_damaged_file_counts_as_none(tmp_path):
    path = tmp_path / "x.npz"
    assert read_volume(path) is None
    write_volume(path, Volume(np.random.default_rng(0).random((20, 20, 20)), np.eye(4)))
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"", b"no zip file", whole[:500] + b"\xff" + whole[501:]):
        path.write_bytes(damaged)
        assert read_volume(path) is None


def test_the_overview_shows_failures_and_escapes_names(tmp_path):
    records = {
        "a<b>": Record("a<b>", "done", seconds="1.5", message="cropped & clipped"),
        "c": Record("c", "failed", message="no <foreground>"),
    }
    page = write_overview(tmp_path, records, build_pipeline("whiten"), {}).read_text(encoding="utf-8")
    assert "1 of 2 subjects done, 1 failed" in page
    assert "a&lt;b&gt;" in page
    assert "no &lt;foreground&gt;" in page
    assert "<b>" not in page
    assert page.index("Failed") < page.index("Done")
