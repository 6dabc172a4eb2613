"""Scores against epochs: means over the epochs that all seeds reached, a panel per score."""

import numpy as np
import pytest

from sfgkeras.analysis.epoch_curves import EpochCurve, curve_rows, draw_epoch_curves, mean_curve


def curve(network, seed, values, measure="mask_dice", epochs=None):
    epochs = np.arange(1, len(values) + 1) if epochs is None else np.array(epochs)
    return EpochCurve(network, seed, measure, epochs, np.array(values, float))


def test_a_mean_ends_where_the_first_of_its_runs_does():
    epochs, values = mean_curve([curve("base", 0, [0.2, 0.4, 0.6]), curve("base", 1, [0.4, 0.8])])
    assert epochs.tolist() == [1, 2]
    assert values == pytest.approx([0.3, 0.6])


def test_runs_measured_at_other_epochs_are_interpolated():
    epochs, values = mean_curve([curve("a", 0, [0, 1], epochs=[1, 3]), curve("a", 1, [0, 0.5, 4], epochs=[0, 2, 4])])
    assert epochs.tolist() == [1, 3]
    assert values == pytest.approx([(0 + 0.25) / 2, (1 + 2.25) / 2])


def test_every_point_is_a_row():
    rows = curve_rows([curve("a", 3, [0.5, np.nan])])
    assert rows[0] == {"network": "a", "seed": 3, "measure": "mask_dice", "epoch": 1, "value": 0.5}
    assert len(rows) == 2
    assert np.isnan(rows[1]["value"])


def test_the_figure_has_a_panel_per_score_and_a_line_per_network_and_run():
    curves = [curve(name, seed, [0.1 * seed, 0.5]) for name in ("base", "mtl") for seed in (0, 1)]
    curves += [curve("mtl", 0, [100.0, 1.0], "loss"), curve("mtl", 0, [0.3, 0.4], "class_accuracy")]
    figure = draw_epoch_curves(curves)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["mask_dice", "class_accuracy", "loss"]
    first, second, last = figure.axes[:3]
    assert len([line for line in first.lines if len(line.get_xdata())]) == 6  # two means, four runs
    means = [line.get_ydata().tolist() for line in first.lines if line.get_linewidth() > 1 and len(line.get_xdata())]
    assert means == [pytest.approx([0.05, 0.5])] * 2
    assert len([line for line in second.lines if len(line.get_xdata())]) == 1
    assert (first.get_yscale(), last.get_yscale()) == ("linear", "log")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", "mtl"]
