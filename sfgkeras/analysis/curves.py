"""Training curves: the columns of a log as one figure."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.pictures import save_figure
from sfgkeras.analysis.style import TRAINING_COLOUR, VALIDATION_COLOUR
from sfgkeras.analysis.tables import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def read_curves(csv_file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the columns of a training log that hold numbers; empty cells become NaN.

    Args:
        csv_file: CSV with a header line.
    """
    rows = read_csv(csv_file)
    columns = {}
    for name in rows[0] if rows else ():
        try:
            columns[name] = np.array([float(row[name]) if row[name] else np.nan for row in rows])
        except ValueError:
            continue
    return columns


def write_curves(
    path: str | os.PathLike[str],
    columns: Mapping[str, Sequence[float] | np.ndarray],
    x: str = "iteration",
    title: str = "",
    dpi: int = 110,
    best: float | None = None,
) -> None:
    """Writes training curves as PNG or PDF; see `draw_curves`.

    Args:
        path: The file.
        columns: Numbers by name, all of one length; NaN leaves a gap.
        x: Name of the column along the horizontal axis.
        title: Written above all.
        dpi: Dots per inch.
        best: Where the best checkpoint lies.

    Raises:
        ValueError: If the column `x` is missing or there is no other.
    """
    save_figure(draw_curves(columns, x, title, best), path, dpi)


def draw_curves(
    columns: Mapping[str, Sequence[float] | np.ndarray],
    x: str = "iteration",
    title: str = "",
    best: float | None = None,
) -> "Figure":
    """Draws training curves: one panel per quantity, training and validation in the same.

    Columns `validation_NAME` and `val_NAME` share the panel of `NAME`. A panel whose values are positive and
    span more than a factor of 50 has a logarithmic axis.

    Args:
        columns: Numbers by name, all of one length; NaN leaves a gap.
        x: Name of the column along the horizontal axis.
        title: Written above all.
        best: Where along the horizontal axis the best checkpoint lies: a dotted line, and a star on each validation
            curve; None for none.

    Raises:
        ValueError: If the column `x` is missing or there is no other.
    """
    from matplotlib.figure import Figure

    panels = curve_panels(columns, x)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.3), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (quantity, names) in zip(grid, panels.items(), strict=False):
        _draw_curves(axes, {name: (columns[x], columns[name]) for name in names}, quantity, x, best)
    if title:
        figure.suptitle(title)
    return figure


def curve_panels(columns: Mapping[str, Any], x: str) -> dict[str, list[str]]:
    """Returns which columns share a panel, by the quantity they show.

    Raises:
        ValueError: If the column `x` is missing or there is no other.
    """
    if x not in columns or len(columns) < 2:
        raise ValueError(f"curves need a column {x!r} and another; received {', '.join(columns) or 'none'}")
    panels: dict[str, list[str]] = {}
    for name in columns:
        if name != x:
            panels.setdefault(name.removeprefix("validation_").removeprefix("val_"), []).append(name)
    return panels


def is_wide(curves: Sequence[Any]) -> bool:
    """Says whether positive values span more than a factor of 50, which a logarithmic axis shows better."""
    pooled = np.concatenate([np.asarray(values, float) for values in curves])
    pooled = pooled[np.isfinite(pooled)]
    return bool(pooled.size and pooled.min() > 0 and pooled.max() > 50 * pooled.min())


def value_at(horizontal: Any, vertical: Any, place: float | None) -> float | None:
    """Returns the finite value of a curve at a place; None where it has none."""
    if place is None:
        return None
    values = np.asarray(vertical, float)[np.asarray(horizontal, float) == place]
    return float(values[0]) if values.size and np.isfinite(values[0]) else None


def _draw_curves(axes: "Axes", curves: Mapping[str, tuple[Any, Any]], title: str, x: str, best: float | None) -> None:
    seen = []
    for name, (horizontal, vertical) in curves.items():
        values = np.asarray(vertical, float)
        finite = np.isfinite(values)
        validation = name != title
        axes.plot(
            np.asarray(horizontal, float)[finite],
            values[finite],
            color=VALIDATION_COLOUR if validation else TRAINING_COLOUR,
            marker="o" if validation or finite.sum() < 3 else None,
            markersize=3,
            linewidth=1.2,
            label="validation" if validation else "training",
        )
        seen.append(values[finite])
        mark = value_at(horizontal, vertical, best) if validation else None
        if best is not None and mark is not None:
            axes.axvline(best, color=VALIDATION_COLOUR, linewidth=0.9, linestyle=":")
            axes.plot([best], [mark], "*", color=VALIDATION_COLOUR, markersize=11, zorder=5, label="best checkpoint")
    if is_wide(seen):
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.grid(alpha=0.3)
    if len(curves) > 1 or title not in curves:
        axes.legend(fontsize=8)
