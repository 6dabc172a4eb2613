"""The paper's figures of the grouping probabilities, drawn with matplotlib without a screen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.grouping_record import GroupingRecord, first_passage, group_shares
from sfgkeras.analysis.simplex import (
    CORNERS,
    NUM_BINS,
    SimplexView,
    bin_triangles,
    simplex_bins,
    simplex_density,
    simplex_views,
    to_plane,
)
from sfgkeras.analysis.style import DENSITY_COLOURS, SEQUENCE, SHARED_COLOUR, depth_colours, group_colours, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 2.6
TRIANGLE = 3.4
MOST_STEPS = 200
MOST_COLUMNS = 5
# Triangles are larger: they are looked into.
MOST_TRIANGLES = 3
THRESHOLD = 0.9
HISTOGRAM_BINS = 20


def draw_density(record: GroupingRecord) -> "Figure":
    """Draws the density of p per layer: over the triangle for every pair of tasks, over [0, 1] for one task."""
    views, last = simplex_views(record.group_names), record.last()
    if not views:
        return _draw_histograms(record)
    densities = {
        (view.corners, name): simplex_density(view.project(values))[0]
        for view in views
        for name, values in last.items()
    }
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    highest = max(float(density.max()) for density in densities.values())
    # A square root, so that a corner that takes nearly all filters does not hide the others.
    norm = PowerNorm(0.5, vmin=0, vmax=100 * highest)
    colours = LinearSegmentedColormap.from_list("density", list(DENSITY_COLOURS))
    x, y = bin_places().T
    figure, panels = _triangle_panels(views, list(last))
    for (view, name), axes in panels.items():
        shown = axes.tripcolor(
            x, y, bin_triangles(), 100 * densities[view.corners, name], shading="gouraud", cmap=colours, norm=norm
        )
        # Gouraud shading has no vector form that all PDF readers know.
        shown.set_rasterized(True)
        axes.set_title(f"{name}, {len(last[name])} filters", fontsize=10)
    bar = figure.colorbar(shown, ax=list(panels.values()), fraction=0.03, pad=0.02, aspect=30)
    bar.set_label("filters per bin (%)", fontsize=10)
    return figure


def draw_trajectories(record: GroupingRecord) -> "Figure":
    """Draws how p moved: every filter a thin line and the layer's mean a thick one, coloured by iteration."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    views, thin = simplex_views(record.group_names), record.thinned(MOST_STEPS)
    colours = ScalarMappable(Normalize(0, max(float(record.iterations[-1]), 1.0)), SEQUENCE)
    if views:
        figure, panels = _triangle_panels(views, list(thin.layers))
        for (view, name), axes in panels.items():
            _draw_paths(axes, to_plane(view.project(thin.layers[name])), thin.iterations, colours)
            axes.set_title(name, fontsize=10)
        drawn: Any = list(panels.values())
    else:
        figure, grid = _grid(len(thin.layers))
        for axes, (name, values) in zip(grid, thin.layers.items(), strict=False):
            moments = np.broadcast_to(thin.iterations[:, None], values.shape[:2])
            _draw_paths(axes, np.stack([moments, values[..., -1]], axis=-1), thin.iterations, colours)
            axes.set(xlabel="iteration", ylabel="p of shared", title=name, ylim=(-0.03, 1.03))
            axes.autoscale(axis="x")
        drawn = list(grid)
    bar = figure.colorbar(colours, ax=drawn, fraction=0.03, pad=0.02, aspect=30)
    bar.set_label("iteration", fontsize=10)
    return figure


def draw_shares(record: GroupingRecord) -> "Figure":
    """Draws the share of every group by depth: stacked bars, counted by most probable group and as mean p."""
    from matplotlib.figure import Figure

    names, layers = short_names(record.group_names), list(record.layers)
    width = max(3.4, 0.55 * len(layers) + 1.6)
    figure = Figure(figsize=(2 * width, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("filters by most probable group", "mean grouping probability")
    for axes, title, shares in zip(panels, titles, group_shares(record.last()), strict=True):
        below = np.zeros(len(layers))
        for group, (name, colour) in enumerate(zip(names, group_colours(len(names)), strict=True)):
            height = 100 * shares[:, group]
            axes.bar(range(len(layers)), height, bottom=below, color=colour, label=name, width=0.8, edgecolor="white")
            _label_bars(axes, below, height)
            below += height
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(layers)), layers, rotation=0 if len(layers) < 7 else 45, fontsize=9)
        axes.set_xlabel("layer, from image to output")
        axes.set_ylim(0, 100)
    panels[0].set_ylabel("share of the filters (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 5), frameon=False, fontsize=10)
    return figure


def _label_bars(axes: "Axes", below: np.ndarray, height: np.ndarray) -> None:
    for layer, (start, size) in enumerate(zip(below, height, strict=True)):
        if size >= 8:
            axes.text(layer, start + size / 2, f"{size:.0f}", ha="center", va="center", fontsize=8)


def draw_first_passage(record: GroupingRecord) -> "Figure":
    """Draws which part of each layer's filters had settled by an iteration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    end = float(record.iterations[-1])
    for depth, (name, values) in enumerate(record.layers.items()):
        times, settled = settled_shares(record.iterations, values)
        axes.step(
            [0, *times, end],
            [0, *settled, settled[-1]],
            where="post",
            color=depth_colours(len(record.layers))[depth],
            linestyle="--" if depth % 2 else "-",
            linewidth=1.8,
            label=f"{name} ({settled[-1]:.0f} % settled)",
        )
    axes.set(xlabel="iteration", ylabel=f"filters with p > {THRESHOLD} for good (%)", ylim=(-2, 102))
    axes.set_xlim(0, max(end, 1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def settled_shares(iterations: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns when filters settled, rising, and how many had by then in %; one entry at 0 % where none did.

    Args:
        iterations: `(n,)`.
        values: Probabilities `(n, filters, groups)`.
    """
    passages = first_passage(iterations, values, THRESHOLD)
    times, counts = np.unique(passages[np.isfinite(passages)], return_counts=True)
    if not times.size:
        return np.asarray(iterations[-1:], float), np.zeros(1)
    return times, 100 * np.cumsum(counts) / len(passages)


def bin_places() -> np.ndarray:
    """Returns where the bins of a density are drawn, `(bins, 2)`."""
    return to_plane(simplex_bins(NUM_BINS))


def _draw_paths(axes: "Axes", places: np.ndarray, iterations: np.ndarray, colours: Any) -> None:
    """Draws paths `(n, filters, 2)` and their mean; a ring marks where the mean began, a dot where it ends."""
    from matplotlib.collections import LineCollection

    def lines(paths: np.ndarray, **style: Any) -> None:
        segments = np.stack([paths[:-1], paths[1:]], axis=2).reshape(-1, 2, 2)
        moments = np.repeat((iterations[:-1] + iterations[1:]) / 2, paths.shape[1])
        axes.add_collection(
            LineCollection(list(segments), cmap=colours.cmap, norm=colours.norm, array=moments, **style)
        )

    mean = places.mean(axis=1, keepdims=True)
    lines(places, linewidths=0.6, alpha=0.45)
    axes.plot(*mean[:, 0].T, color="white", linewidth=4.5, solid_capstyle="round")
    lines(mean, linewidths=2.8, capstyle="round")
    axes.plot(*mean[0, 0], "o", markerfacecolor="white", markeredgecolor="black", markersize=6, zorder=5)
    axes.plot(*mean[-1, 0], "o", color="black", markersize=6, zorder=5)


def _draw_histograms(record: GroupingRecord) -> "Figure":
    """Draws the distribution of p of the shared group, for networks of one task."""
    figure, grid = _grid(len(record.layers))
    for axes, (name, values) in zip(grid, record.last().items(), strict=False):
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values[:, -1], HISTOGRAM_BINS, (0, 1), weights=weights, color=SHARED_COLOUR)
        axes.set(
            xlabel="p of shared", ylabel="filters per bin (%)", title=f"{name}, {len(values)} filters", ylim=(0, 102)
        )
    return figure


def _grid(count: int, most: int = MOST_COLUMNS, side: float = PANEL) -> tuple["Figure", Any]:
    """Returns a figure of `count` square panels of that side in inches, at most `most` of them in a row."""
    from matplotlib.figure import Figure

    across = min(count, most)
    down = -(-count // across)
    figure = Figure(figsize=(side * across + 1.0, side * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def _triangle_panels(
    views: Sequence[SimplexView], layers: Sequence[str]
) -> tuple["Figure", dict[tuple[SimplexView, str], Any]]:
    """Returns a figure with a triangle for every view and layer, corners named."""
    places = [(view, name) for view in views for name in layers]
    # One row per pair of tasks; a single pair is broken into rows where there are many layers.
    one_pair = len(views) == 1
    figure, grid = _grid(len(places), MOST_TRIANGLES, TRIANGLE) if one_pair else _rows(len(views), len(layers))
    panels = dict(zip(places, grid, strict=True))
    for (view, _), axes in panels.items():
        axes.plot(*np.append(CORNERS, CORNERS[:1], axis=0).T, color="0.4", linewidth=0.8, zorder=3)
        left, right, top = short_names(view.corners)
        axes.text(0.0, -0.04, left, ha="center" if len(left) < 9 else "left", va="top", fontsize=9)
        axes.text(1.0, -0.04, right, ha="center" if len(right) < 9 else "right", va="top", fontsize=9)
        axes.text(0.5, 0.895, top, ha="center", va="bottom", fontsize=9)
        axes.set(xlim=(-0.12, 1.12), ylim=(-0.14, 1.0), aspect="equal")
        axes.set_axis_off()
    return figure, panels


def _rows(down: int, across: int) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(TRIANGLE * across + 1.0, TRIANGLE * down), layout="constrained")
    return figure, figure.subplots(down, across, squeeze=False).ravel()
