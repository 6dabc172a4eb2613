"""Training curves of all folds of a cross-validation in one figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.analysis.curves import curve_panels, is_wide
from sfgkeras.analysis.style import TASK_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN_COLOUR = "#000000"


def draw_fold_curves(folds: Mapping[str, Mapping[str, np.ndarray]], x: str = "iteration") -> "Figure":
    """Draws the curves of all folds: a panel per quantity, a colour per fold, and the mean over the folds in black.

    Training is a thin line; a validation, of columns `validation_NAME`, a line with dots in the panel of `NAME`. The
    mean is of what held-out subjects say, or of the training where there was no validation, wherever all folds that
    show the quantity have a value.

    Args:
        folds: By the name of the fold its columns, numbers of one length; NaN leaves a gap.
        x: Name of the column along the horizontal axis.

    Raises:
        ValueError: If no fold has a column besides `x`.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for columns in folds.values() for name in columns))
    panels = curve_panels(dict.fromkeys(names), x)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    lines = {}
    for axes, (quantity, columns) in zip(grid, panels.items(), strict=False):
        seen = []
        for number, (fold, own) in enumerate(folds.items()):
            for name in columns:
                if name not in own:
                    continue
                horizontal, vertical = _finite(own[x], own[name])
                dots = name != quantity or len(vertical) < 3
                (lines[fold],) = axes.plot(
                    horizontal,
                    vertical,
                    color=TASK_COLOURS[number % len(TASK_COLOURS)],
                    linestyle="-" if number < len(TASK_COLOURS) else "--",
                    marker="o" if dots else None,
                    markersize=3,
                    linewidth=1.3 if name != quantity else 0.8,
                    alpha=1.0 if name != quantity or len(columns) == 1 else 0.55,
                )
                seen.append(vertical)
        horizontal, vertical = mean_curve(folds, next((name for name in columns if name != quantity), quantity), x)
        if len(folds) > 1 and len(vertical):
            lines["mean"] = axes.plot(horizontal, vertical, color=MEAN_COLOUR, linewidth=2.0)[0]
        if seen and is_wide(seen):
            axes.set_yscale("log")
        axes.set_title(quantity, fontsize=10)
        axes.set_xlabel(x, fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside upper center",
        ncols=min(6, len(lines)),
        fontsize=9,
        frameon=False,
    )
    return figure


def mean_curve(
    folds: Mapping[str, Mapping[str, np.ndarray]], name: str, x: str = "iteration"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of a column over the folds that have it, wherever all of these have a value.

    Args:
        folds: As `draw_fold_curves`.
        name: The column.
        x: The column along the horizontal axis.
    """
    curves: Sequence[tuple[np.ndarray, np.ndarray]] = [
        _finite(columns[x], columns[name]) for columns in folds.values() if name in columns
    ]
    places = set.intersection(*(set(horizontal.tolist()) for horizontal, _ in curves)) if curves else set()
    common = np.array(sorted(places))
    values = [vertical[np.isin(horizontal, common)] for horizontal, vertical in curves]
    return common, np.mean(values, axis=0) if len(common) else np.zeros(0)


def _finite(horizontal: np.ndarray, vertical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    horizontal, vertical = np.asarray(horizontal, float), np.asarray(vertical, float)
    known = np.isfinite(vertical) & np.isfinite(horizontal)
    return horizontal[known], vertical[known]
