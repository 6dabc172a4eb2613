"""Pictures of a report, beside each other in one file: what the report's own viewer writes is read back."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sfgkeras.analysis.slice_viewer import SlicePanel, SliceViewer, image_uri, outline_paths, viewer_html

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def report(tmp_path):
    """A report of one subject: three slices, the middle one with a square that was predicted a voxel too wide."""
    images = [image_uri(np.full((4, 6), level), (0.0, 1.0)) for level in (0.0, 0.5, 1.0)]
    truth, told = np.zeros((2, 4, 6), int)
    truth[1:3, 1:3] = told[1:3, 1:4] = 1
    outlines = {"truth": [[], outline_paths(truth), []], "prediction": [[], outline_paths(told), []]}
    colour = outline_paths(truth)[0][0]
    panels = [
        SlicePanel("MR < T2", images),
        SlicePanel("organ", images, outlines=outlines, legend={"bone & marrow": colour}),
    ]
    path = tmp_path / "report.html"
    viewer = SliceViewer("P1", ("1 of 3", "2 of 3", "3 of 3"), (6, 4), 1.5, panels)
    path.write_text(str(viewer_html(viewer, 0)), encoding="utf-8")
    return path, images, outlines


def test_the_middle_slice_of_every_panel_with_its_outlines_and_their_names(report, tmp_path, load_benchmark):
    path, images, outlines = report
    assert load_benchmark("report_pictures").main([str(path), str(tmp_path / "out.svg")]) == 0
    root = ET.parse(tmp_path / "out.svg").getroot()
    assert [image.get("href") for image in root.iter(f"{SVG}image")] == [images[1]] * 2
    assert [text.text for text in root.iter(f"{SVG}text")] == ["MR < T2", "organ", "bone & marrow"]
    drawn = [(group.get("stroke-dasharray"), group[0].get("d")) for group in root.iter(f"{SVG}g")]
    assert drawn == [(None, outlines["truth"][1][0][1]), ("5 3", outlines["prediction"][1][0][1])]


def test_panels_go_on_in_another_row(report, tmp_path, load_benchmark, monkeypatch):
    script = load_benchmark("report_pictures")
    monkeypatch.setattr(script, "IN_A_ROW", 1)
    assert script.main([str(report[0]), str(tmp_path / "out.svg")]) == 0
    root = ET.parse(tmp_path / "out.svg").getroot()
    above, below = (
        {name: float(image.get(name)) for name in ("x", "y", "height")} for image in root.iter(f"{SVG}image")
    )
    assert above["x"] == below["x"]
    assert below["y"] >= above["y"] + above["height"]
    assert float(root.get("height")) >= below["y"] + below["height"]
    assert below["height"] == 120  # 180 wide, and half as wide again as high


def test_a_report_without_subjects_or_with_too_many_is_refused(report, tmp_path, load_benchmark, monkeypatch, capsys):
    script, output = load_benchmark("report_pictures"), tmp_path / "out.svg"
    assert script.main([str(report[0]), str(output), "--skip", "1"]) == 1
    assert "shows no subject there" in capsys.readouterr().err
    monkeypatch.setattr(script, "MOST_BYTES", 100)
    assert script.main([str(report[0]), str(output)]) == 1
    assert "show fewer subjects" in capsys.readouterr().err
    assert not output.exists()
