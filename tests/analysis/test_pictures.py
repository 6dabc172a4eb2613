import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from sfgkeras.analysis import pictures
from sfgkeras.analysis.curves import read_curves, write_curves

SHAPE = (24, 20, 8)
SPACING = (1.0, 2.0, 4.0)
AFFINE = np.diag([*SPACING, 1.0])


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 30, SHAPE).astype("float32")
    labels = np.zeros(SHAPE, int)
    labels[4:10, 5:12, 2:6] = 1
    labels[14:20, 5:12, 3:5] = 2
    return {"truth": truth, "prediction": truth + 10, "image": truth**2, "labels": labels}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count_colour(picture, colour):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - wanted).max(axis=-1) < 12).sum())


def test_the_patients_right_is_on_the_left_and_front_or_head_on_top():
    volume = np.zeros((5, 6, 7))
    volume[4, 5, 6] = 1
    for plane in pictures.PLANES:
        index = volume.shape[pictures.PLANES[plane]] - 1
        image = pictures.radiological_slice(volume, plane, index)
        assert image[0, 0] == 1
    assert pictures.radiological_slice(volume, "axial", 0).shape == (6, 5)
    assert pictures.radiological_slice(volume, "coronal", 0).shape == (7, 5)
    assert pictures.radiological_slice(volume, "sagittal", 0).shape == (7, 6)


def test_any_orientation_is_brought_to_right_front_head_with_its_spacing():
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -5.0, 2.0, -3.0, 1.0
    turned, spacing = pictures.canonical(volume, affine)
    np.testing.assert_array_equal(spacing, (2, 3, 5))
    np.testing.assert_array_equal(turned, volume[::-1, :, ::-1].transpose(1, 2, 0))


def test_pixels_have_the_aspect_of_the_voxels(volumes):
    given = {"image": volumes["image"]}
    for plane, aspect in (("axial", 2.0), ("coronal", 4.0), ("sagittal", 2.0)):
        panels = pictures.subject_panels(given, np.array(SPACING), plane)
        assert {panel.aspect for row in panels for panel in row} == {aspect}


def test_slices_split_the_labelled_voxels_evenly():
    per_slice = np.zeros(40, int)
    per_slice[10:16] = 100
    assert pictures.choose_slices(40, 3, per_slice) == [10, 12, 14]
    assert pictures.choose_slices(40, 3, np.zeros(40, int)) == pictures.choose_slices(40, 3)
    assert all(10 <= index < 30 for index in pictures.choose_slices(40, 5))
    assert pictures.choose_slices(1, 3) == [0]


def test_panels_are_input_truth_prediction_difference_and_outlines(volumes):
    given = {name: volumes[name] for name in ("image", "truth", "prediction")}
    given |= {"true_labels": volumes["labels"], "predicted_labels": np.roll(volumes["labels"], 1, 0)}
    names = {"image": "T2", "truth": "CT", "prediction": "synthetic CT"}
    panels = pictures.subject_panels(given, np.array(SPACING), num_slices=2, window=(-100, 100), unit="HU", names=names)
    assert len(panels) == 2
    titles = [panel.title.split(",")[0] for panel in panels[0]]
    assert titles == ["T2", "CT", "synthetic CT", "absolute difference", "truth and prediction"]
    error = panels[0][3]
    assert (error.kind, error.unit) == ("error", "HU")
    np.testing.assert_allclose(error.image, 10, atol=1e-4)
    assert panels[0][1].limits == panels[0][2].limits == (-100, 100)
    assert set(panels[0][4].outlines) == {"truth", "prediction"}


@pytest.mark.parametrize(
    ("kinds", "num_panels"),
    [
        (("image",), 1),
        (("truth", "prediction"), 3),
        (("prediction",), 1),
        (("image", "true_labels"), 2),
        (("true_labels", "predicted_labels"), 1),
        (("image", "truth", "prediction", "true_labels", "predicted_labels"), 5),
    ],
)
def test_any_subset_of_the_images_makes_a_picture(tmp_path, volumes, kinds, num_panels):
    given = {kind: volumes["labels" if kind.endswith("labels") else kind] for kind in kinds}
    panels = pictures.subject_panels(given, np.array(SPACING))
    assert {len(row) for row in panels} == {num_panels}
    pictures.subject_montage(tmp_path / "new" / "montage.png", AFFINE, **given)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["montage.png"]
    picture = pixels(tmp_path / "new" / "montage.png")
    assert picture.shape[1] > 250 * num_panels
    for value in (1, 2):
        drawn = count_colour(picture, pictures.label_colour(value)) > 20
        assert drawn == ("true_labels" in kinds)


def test_a_label_has_its_colour_whatever_else_is_shown(tmp_path, volumes):
    only_second = np.where(volumes["labels"] == 2, 2, 0)
    pictures.subject_montage(tmp_path / "a.png", AFFINE, true_labels=only_second)
    picture = pixels(tmp_path / "a.png")
    assert count_colour(picture, pictures.label_colour(2)) > 20
    assert count_colour(picture, pictures.label_colour(1)) == 0


def test_right_is_left_in_the_finished_picture(tmp_path):
    image = np.zeros(SHAPE, "float32")
    image[SHAPE[0] // 2 :] = 1
    for name, volume, affine in (
        ("ras", image, AFFINE),
        ("las", image[::-1], AFFINE @ np.diag([-1, 1, 1, 1])),
    ):
        pictures.subject_montage(tmp_path / f"{name}.png", affine, image=volume, num_slices=1)
        picture = pixels(tmp_path / f"{name}.png").sum(axis=-1)[80:-30]
        half = picture.shape[1] // 2
        assert picture[:, :half].mean() > 5 * picture[:, half:].mean()


def test_constant_and_missing_values_are_drawn(tmp_path):
    image = np.full(SHAPE, 3.0)
    truth = np.full(SHAPE, np.nan)
    pictures.subject_montage(tmp_path / "a.png", AFFINE, image=image, truth=truth, prediction=image)
    assert pixels(tmp_path / "a.png").size > 0


def test_pictures_leave_no_global_state(tmp_path, volumes):
    loaded = "matplotlib.pyplot" in sys.modules
    pictures.subject_montage(tmp_path / "a.png", AFFINE, image=volumes["image"])
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_montages_that_cannot_be_drawn_are_refused(tmp_path, volumes):
    with pytest.raises(ValueError, match=r"one shape \(x, y, z\); received none"):
        pictures.subject_montage(tmp_path / "a.png", AFFINE)
    with pytest.raises(ValueError, match=r"'truth': \(24, 20, 7\)"):
        pictures.subject_montage(tmp_path / "a.png", AFFINE, image=volumes["image"], truth=volumes["truth"][..., 1:])
    with pytest.raises(ValueError, match="at least one panel"):
        pictures.write_montage(tmp_path / "a.png", [])
    with pytest.raises(ValueError, match="kind 'gray'; it can be 'grey' or 'error'"):
        pictures.write_montage(tmp_path / "a.png", [[pictures.Panel("x", np.zeros((4, 4)), "gray")]])
    assert list(tmp_path.iterdir()) == []


def test_curves_are_drawn_from_a_log_with_gaps(tmp_path):
    lines = ["iteration,loss,validation_loss,note"]
    lines += [f"{i},{1 / (1 + i)},{0.5 if i % 5 == 0 else ''},text" for i in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    columns = read_curves(tmp_path / "log.csv")
    assert list(columns) == ["iteration", "loss", "validation_loss"]
    np.testing.assert_allclose(columns["loss"], 1 / (1 + np.arange(20)))
    assert np.isfinite(columns["validation_loss"]).sum() == 4
    write_curves(tmp_path / "curves.png", columns, title="log")
    picture = pixels(tmp_path / "curves.png")
    assert count_colour(picture, "#0072B2") > 100
    assert count_colour(picture, "#D55E00") > 50


def test_a_log_without_lines_or_without_the_axis_is_refused_by_name(tmp_path):
    (tmp_path / "log.csv").write_text("iteration,loss\n")
    assert read_curves(tmp_path / "log.csv") == {}
    with pytest.raises(ValueError, match="curves need a column 'iteration' and another; received none"):
        write_curves(tmp_path / "curves.png", {})
    with pytest.raises(ValueError, match="received step, loss"):
        write_curves(tmp_path / "curves.png", {"step": [1], "loss": [2]})


def test_a_quantity_that_is_never_measured_does_not_stop_the_others(tmp_path):
    write_curves(tmp_path / "a.png", {"iteration": [0, 1], "loss": [2.0, 1.0], "val_dice": [np.nan, np.nan]})
    assert pixels(tmp_path / "a.png").size > 0


def test_a_figure_is_laid_out_once_for_all_its_files_and_looks_as_it_would_alone(tmp_path, monkeypatch):
    def drawn():
        figure = Figure(figsize=(3, 2), layout="constrained")
        figure.subplots(1, 2)[1].set_ylabel("a long label")
        return figure

    laid_out, execute = [], ConstrainedLayoutEngine.execute
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *given: laid_out.append(given) or execute(*given))
    figure = drawn()
    for name in ("first.png", "figure.pdf", "second.png"):
        pictures.save_figure(figure, tmp_path / name, 60)
    assert len(laid_out) == 1
    assert (tmp_path / "second.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    pictures.save_figure(drawn(), tmp_path / "alone.png", 60)
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
