"""Scores against epochs for several networks and seeds: a figure with a panel per score, and its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.curves import is_wide
from sfgkeras.analysis.style import TASK_COLOURS, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True, eq=False)
class EpochCurve:
    """How one score of one run went.

    Attributes:
        network: What was trained.
        seed: Its seed.
        measure: Name of the score.
        epochs: Where it was measured, `(n,)`; grows.
        values: What it was, `(n,)`; NaN where it was undefined.
    """

    network: str
    seed: int
    measure: str
    epochs: np.ndarray
    values: np.ndarray


def curve_rows(curves: Sequence[EpochCurve]) -> list[dict[str, Any]]:
    """Returns one row per point: `network`, `seed`, `measure`, `epoch`, `value`."""
    return [
        {"network": curve.network, "seed": curve.seed, "measure": curve.measure, "epoch": epoch, "value": value}
        for curve in curves
        for epoch, value in zip(curve.epochs.tolist(), curve.values.tolist(), strict=True)
    ]


def mean_curve(curves: Sequence[EpochCurve]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over seeds at every epoch that all of them have reached, epochs and values, `(n,)` each.

    Runs that were measured at other epochs than the first one are interpolated in between.
    """
    first, last = max(curve.epochs[0] for curve in curves), min(curve.epochs[-1] for curve in curves)
    epochs = curves[0].epochs[(curves[0].epochs >= first) & (curves[0].epochs <= last)]
    return epochs, np.mean([np.interp(epochs, curve.epochs, curve.values) for curve in curves], axis=0)


def draw_epoch_curves(curves: Sequence[EpochCurve]) -> "Figure":
    """Draws a panel per score: a thick line per network, the mean over its seeds, and thin ones for its runs.

    Losses, whose weights may differ between networks, come last. A panel of positive values that span more than a
    factor of 50 has a logarithmic axis.
    """
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(curve.network for curve in curves))
    measures = sorted(dict.fromkeys(curve.measure for curve in curves), key=lambda name: name.endswith("loss"))
    across = min(3, len(measures))
    down = -(-len(measures) // across)
    legend_lines = -(-len(networks) // 4)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.35 + 0.22 * legend_lines), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(measures) :]:
        axes.set_axis_off()
    for axes, measure in zip(grid, measures, strict=False):
        _draw_panel(axes, [curve for curve in curves if curve.measure == measure], networks)
        axes.set_title(measure, fontsize=10)
    handles = [
        grid[0].plot([], [], label=name, **_look(place))[0] for place, name in enumerate(short_names(networks, 30))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _look(place: int) -> dict[str, Any]:
    colour = TASK_COLOURS[place % len(TASK_COLOURS)]
    return {"color": colour, "linestyle": LINES[place // len(TASK_COLOURS) % len(LINES)], "linewidth": 1.8}


def _draw_panel(axes: "Axes", curves: Sequence[EpochCurve], networks: Sequence[str]) -> None:
    for place, network in enumerate(networks):
        own = [curve for curve in curves if curve.network == network]
        if not own:
            continue
        look = _look(place)
        for curve in own if len(own) > 1 else ():
            axes.plot(curve.epochs, curve.values, **{**look, "linewidth": 0.6, "alpha": 0.45})
        epochs, values = mean_curve(own)
        axes.plot(epochs, values, marker="o" if len(epochs) < 3 else None, markersize=3, **look)
    if is_wide([curve.values for curve in curves]):
        axes.set_yscale("log")
    axes.set_xlabel("epoch", fontsize=9)
    axes.grid(alpha=0.3)
