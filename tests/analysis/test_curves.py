"""Curves of runs, seeds and folds: what shares a panel, what lies in it, and means against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.analysis import epoch_curves, fold_curves
from sfgkeras.analysis.curves import curve_panels, draw_curves, is_wide, read_curves, value_at, write_curves
from sfgkeras.analysis.epoch_curves import EpochCurve, curve_rows
from sfgkeras.analysis.fold_curves import draw_fold_curves

NAN = float("nan")


def lines(axes):
    """Returns the curves of a panel by label: horizontal and vertical values."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def test_columns_of_text_are_left_out_and_empty_cells_are_gaps(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("iteration,loss,remark,dice\n1,0.5,begun,\n2,,,0.25\n3,nan,x,1e-3\n", encoding="utf-8")
    found = read_curves(path)
    expected = pd.read_csv(path).drop(columns="remark")
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name].to_numpy(float))
    path.write_text("iteration,loss\n", encoding="utf-8")
    assert read_curves(path) == {}


def test_training_and_validation_share_the_panel_of_a_quantity():
    names = ["iteration", "loss", "val_loss", "validation_dice", "validation", "lr"]
    assert curve_panels(dict.fromkeys(names), "iteration") == {
        "loss": ["loss", "val_loss"],
        "dice": ["validation_dice"],
        "validation": ["validation"],
        "lr": ["lr"],
    }


@pytest.mark.parametrize(
    ("columns", "told"), [({}, "none"), ({"loss": [1]}, "loss"), ({"iteration": [1]}, "iteration")]
)
def test_curves_need_something_to_lie_against_and_something_to_show(columns, told):
    with pytest.raises(ValueError, match=f"need a column 'iteration' and another; received {told}"):
        draw_curves(columns)


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ([[1, 50]], False),
        ([[1, 50.001]], True),
        ([[1], [51]], True),  # of all curves of a panel together
        ([[0, 100]], False),
        ([[-1, 100]], False),
        ([[NAN, 1, np.inf]], False),
        ([[NAN, 1, 60]], True),
        ([[]], False),
    ],
)
def test_an_axis_is_logarithmic_where_positive_values_span_more_than_fifty(curves, expected):
    assert is_wide(curves) == expected
    panel = draw_curves({"iteration": range(len(curves[0])), "loss": curves[0]}).axes[0]
    assert (panel.get_yscale() == "log") == (is_wide(curves[:1]))


@pytest.mark.parametrize(("place", "expected"), [(2, 0.5), (3, None), (4, None), (None, None), (2.0, 0.5)])
def test_the_value_at_a_place_is_a_finite_one_or_none(place, expected):
    assert value_at([1, 2, 3], [0.1, 0.5, NAN], place) == expected


def test_a_panel_shows_the_values_that_are_there_and_a_star_on_the_best_checkpoint():
    columns = {"iteration": [1, 2, 3, 4], "dice": [0.1, NAN, 0.3, 0.4], "validation_dice": [NAN, 0.2, NAN, 0.35]}
    figure = draw_curves(columns, title="Run", best=4)
    (axes,) = figure.axes
    found = lines(axes)
    assert found["training"] == ([1, 3, 4], [0.1, 0.3, 0.4])
    assert found["validation"] == ([2, 4], [0.2, 0.35])
    assert found["best checkpoint"] == ([4], [0.35])
    assert figure.get_suptitle() == "Run"
    # No star where nothing was validated, and none on a curve of training.
    assert "best checkpoint" not in lines(draw_curves(columns, best=3).axes[0])
    assert "best checkpoint" not in lines(draw_curves({"iteration": [1], "dice": [1]}, best=1).axes[0])


@pytest.mark.parametrize(("quantities", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 3)), (6, (2, 3))])
def test_three_panels_stand_side_by_side(quantities, shape):
    columns = {"iteration": [1, 2]} | {f"q{number}": [1, 2] for number in range(quantities)}
    figure = draw_curves(columns)
    visible = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in visible] == [f"q{number}" for number in range(quantities)]
    assert visible[0].get_gridspec().get_geometry() == shape


def test_curves_are_written_as_the_ending_says(tmp_path):
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = tmp_path / f"Kurve.{ending}"
        write_curves(path, {"iteration": [1, 2], "loss": [2, 1]}, dpi=20)
        assert path.read_bytes().startswith(start)


def curve(values, epochs=None, network="a", seed=0, measure="dice"):
    epochs = np.arange(1, len(values) + 1) if epochs is None else np.array(epochs)
    return EpochCurve(network, seed, measure, epochs, np.array(values, float))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_mean_of_seeds_is_over_epochs_that_all_have_reached(values):
    epochs, means = epoch_curves.mean_curve([curve(each) for each in values])
    table = pd.DataFrame([pd.Series(each, range(1, len(each) + 1)) for each in values]).T.dropna()
    np.testing.assert_array_equal(epochs, table.index)
    np.testing.assert_allclose(means, table.mean(axis=1), atol=1e-12)


def test_runs_that_were_measured_elsewhere_are_interpolated_not_extended():
    epochs, means = epoch_curves.mean_curve([curve([0, 2, 4, 6], [1, 2, 3, 4]), curve([10, 30], [1.5, 3.5])])
    np.testing.assert_array_equal(epochs, [2, 3])
    np.testing.assert_allclose(means, [(2 + 15) / 2, (4 + 25) / 2])


def test_every_point_of_a_curve_is_a_row():
    rows = curve_rows([curve([0.5, NAN], network="b", seed=3)])
    assert [list(row.values())[:4] for row in rows] == [["b", 3, "dice", 1], ["b", 3, "dice", 2]]
    assert rows[0]["value"] == 0.5
    assert np.isnan(rows[1]["value"])


def fold(**columns):
    return {name: np.array(values, float) for name, values in columns.items()}


def test_the_mean_of_folds_is_where_all_that_show_the_quantity_have_a_value():
    folds = {
        "1": fold(iteration=[1, 2, 3, 4], dice=[1, 2, NAN, 4]),
        "2": fold(iteration=[2, 3, 4, 5], dice=[4, 9, 8, 7]),
        "3": fold(iteration=[1, 2], loss=[1, 1]),  # shows no Dice coefficient
    }
    places, values = fold_curves.mean_curve(folds, "dice")
    table = pd.concat(
        [pd.Series(each["dice"], each["iteration"]) for each in list(folds.values())[:2]], axis=1
    ).dropna()
    np.testing.assert_array_equal(places, table.index)
    np.testing.assert_allclose(values, table.mean(axis=1))
    for name in ("none", "loss"):
        assert len(fold_curves.mean_curve(folds, name)[0]) == (2 if name == "loss" else 0)


def test_folds_without_a_common_iteration_have_no_mean():
    folds = {"1": fold(iteration=[1], dice=[1]), "2": fold(iteration=[2], dice=[3])}
    places, values = fold_curves.mean_curve(folds, "dice")
    assert len(places) == len(values) == 0
    figure = draw_fold_curves(folds)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "2"]


def test_the_mean_line_is_of_held_out_subjects_where_there_are_any():
    folds = {
        name: fold(iteration=[1, 2, 3], loss=np.array([9, 9, 9]) + shift, validation_loss=np.array([1, 2, 3]) + shift)
        for name, shift in (("1", 0), ("2", 1))
    }
    (axes,) = draw_fold_curves(folds).axes
    (mean,) = [line for line in axes.get_lines() if line.get_color() == fold_curves.MEAN_COLOUR]
    np.testing.assert_allclose(mean.get_ydata(), [1.5, 2.5, 3.5])
    assert len(axes.get_lines()) == 5
    # One fold is its own mean, and is not drawn twice.
    (alone,) = draw_fold_curves({"1": folds["1"]}).axes
    assert len(alone.get_lines()) == 2


def test_validation_stands_out_from_training_and_folds_beyond_the_colours_are_dashed():
    folds = {str(n): fold(iteration=[1, 2, 3], loss=[3, 2, 1], val_loss=[3, 2, 2]) for n in range(7)}
    training, validation = draw_fold_curves(folds).axes[0].get_lines()[:2]
    assert (training.get_marker(), validation.get_marker()) == ("None", "o")
    assert training.get_linewidth() < validation.get_linewidth()
    assert training.get_alpha() < validation.get_alpha() == 1
    styles = [line.get_linestyle() for line in draw_fold_curves(folds).axes[0].get_lines()[:14:2]]
    assert styles == ["-"] * 6 + ["--"]
    panels = {"1": fold(iteration=[1, 2, 3], **{f"q{n}": [1, 2, 3] for n in range(4)})}
    figure = draw_fold_curves(panels)
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert {line.get_alpha() for axes in figure.axes for line in axes.get_lines()} == {1.0}  # nothing to stand behind


def test_folds_with_nothing_to_show_are_refused():
    with pytest.raises(ValueError, match="received iteration"):
        draw_fold_curves({"1": fold(iteration=[1])})
