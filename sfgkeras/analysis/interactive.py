"""The figures of a run for a browser: what `grouping_figures` and `curves` draw, with values under the pointer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.curves import curve_panels, is_wide, value_at
from sfgkeras.analysis.grouping_figures import HISTOGRAM_BINS, MOST_TRIANGLES, THRESHOLD, settled_shares
from sfgkeras.analysis.grouping_record import GroupingRecord, group_shares
from sfgkeras.analysis.plot_panels import new_figure, panel_grid, styled
from sfgkeras.analysis.simplex import SimplexView, simplex_density, simplex_views
from sfgkeras.analysis.style import (
    DENSITY_COLOURS,
    SHARED_COLOUR,
    TRAINING_COLOUR,
    VALIDATION_COLOUR,
    depth_colours,
    group_colours,
    short_names,
)
from sfgkeras.analysis.tables import with_unit

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TRIANGLE = 340
COLOUR_SCALE = "Viridis"
BEST = "best checkpoint"
MEAN_STEPS, FILTER_STEPS = 60, 12
# Coarser than the printed figure: every bin is an element of the page.
BINS = 20


def plot_density(record: GroupingRecord) -> "Figure":
    """Plots the density of p per layer: over the triangle for every pair of tasks, over [0, 1] for one task."""
    views, last = simplex_views(record.group_names), record.last()
    if not views:
        return _plot_histograms(record)
    figure, places = _triangles(views, {name: f"{name}, {len(values)} filters" for name, values in last.items()})
    results = {place: simplex_density(place[0].project(last[place[1]]), BINS) for place in places}
    highest = 100 * max(float(density.max()) for density, _ in results.values())
    for (view, name), (row, column) in places.items():
        density, bins = results[view, name]
        shares = 100 * density
        hover = [
            f"{share:.2g} % of the filters<br>p({a}) {p[0]:.2f}, p({b}) {p[1]:.2f}, p({c}) {p[2]:.2f}"
            for share, p, (a, b, c) in zip(shares, bins, [view.corners] * len(bins), strict=True)
        ]
        figure.add_scatterternary(
            a=bins[:, 2],
            b=bins[:, 0],
            c=bins[:, 1],
            mode="markers",
            # A square root, so that a corner that takes nearly all filters does not hide the others.
            marker={
                "color": np.sqrt(shares),
                "size": 17,
                "symbol": "hexagon",
                "coloraxis": "coloraxis",
                "line_width": 0,
            },
            hoverinfo="text",
            text=hover,
            showlegend=False,
            row=row,
            col=column,
        )
    ticks = [highest * share for share in (0.0, 0.04, 0.25, 1.0)]
    bar = {
        "x": 1.05,
        "title": "filters per<br>bin (%)",
        "tickvals": np.sqrt(ticks),
        "ticktext": [f"{tick:.2g}" for tick in ticks],
    }
    figure.update_layout(
        coloraxis={"colorscale": list(DENSITY_COLOURS), "cmin": 0, "cmax": float(np.sqrt(highest)), "colorbar": bar}
    )
    return figure


def plot_trajectories(record: GroupingRecord) -> "Figure":
    """Plots how p moved: filters as thin lines with dots, the layer's mean as large dots, coloured by iteration."""
    views = simplex_views(record.group_names)
    figure = _plot_triangle_paths(record, views) if views else _plot_shared_paths(record)
    figure.update_layout(
        coloraxis={
            "colorscale": COLOUR_SCALE,
            "cmin": 0,
            "cmax": max(float(record.iterations[-1]), 1.0),
            "colorbar": {"title": "iteration", "x": 1.05},
        }
    )
    return figure


def _plot_triangle_paths(record: GroupingRecord, views: Sequence[SimplexView]) -> "Figure":
    figure, places = _triangles(views, {name: name for name in record.layers})
    for (view, name), (row, column) in places.items():
        names = dict(zip("bca", view.corners, strict=True))
        _plot_paths(figure, record, name, view.project, "bca", names, row, column)
    return figure


def _plot_shared_paths(record: GroupingRecord) -> "Figure":
    figure, places = panel_grid(list(record.layers))
    for name, (row, column) in places.items():
        _plot_paths(figure, record, name, None, "xy", {"y": "shared"}, row, column)
    figure.update_xaxes(title="iteration")
    figure.update_yaxes(title="p of shared", range=[-0.03, 1.03])
    return figure


def _plot_paths(
    figure: "Figure",
    record: GroupingRecord,
    name: str,
    project: Any,
    axes: str,
    corner_names: Mapping[str, str],
    row: int,
    column: int,
) -> None:
    """Adds the paths of one layer; `axes` names the coordinates that `project` returns."""
    add = figure.add_scatter if axes == "xy" else figure.add_scatterternary

    def places(thin: GroupingRecord) -> np.ndarray:
        values = thin.layers[name]
        if project is not None:
            return project(values)
        moments = np.broadcast_to(thin.iterations[:, None], values.shape[:2])
        return np.stack([moments, values[..., -1]], axis=-1)

    few = record.thinned(FILTER_STEPS)
    paths = places(few)
    # One trace for all filters; a gap after each.
    gap = np.full((1, *paths.shape[1:]), np.nan)
    joined = np.concatenate([paths, gap]).transpose(1, 0, 2).reshape(-1, len(axes))
    moments = np.tile([*few.iterations, np.nan], paths.shape[1])
    numbers = np.repeat(np.arange(paths.shape[1]), len(few.iterations) + 1)
    text = [f"filter {number}" for number in numbers]
    template = "<br>".join(f"p({corner}) %{{{axis}:.2f}}" for axis, corner in corner_names.items())
    common = {
        "showlegend": False,
        "row": row,
        "col": column,
        "hovertemplate": f"%{{text}}<br>{template}<extra></extra>",
    }
    add(
        **{axis: joined[:, number] for number, axis in enumerate(axes)},
        mode="lines+markers",
        line={"color": "rgba(128,128,128,0.35)", "width": 0.7},
        marker={"color": moments, "coloraxis": "coloraxis", "size": 3},
        text=[f"{entry}, iteration {moment:.0f}" for entry, moment in zip(text, moments, strict=True)],
        **common,
    )
    dense = record.thinned(MEAN_STEPS)
    mean = places(dense).mean(axis=1)
    add(
        **{axis: mean[:, number] for number, axis in enumerate(axes)},
        mode="lines+markers",
        line={"color": "rgba(128,128,128,0.8)", "width": 2},
        marker={
            "color": dense.iterations,
            "coloraxis": "coloraxis",
            "size": 8,
            "line": {"color": "white", "width": 0.5},
        },
        text=[f"mean of {name}, iteration {moment}" for moment in dense.iterations],
        **common,
    )


def plot_shares(record: GroupingRecord) -> "Figure":
    """Plots the share of every group by depth, counted by most probable group and as mean p."""
    figure, places = panel_grid(["filters by most probable group", "mean grouping probability"], across=2)
    names, layers = short_names(record.group_names), list(record.layers)
    for shares, (title, (row, column)) in zip(group_shares(record.last()), places.items(), strict=True):
        for group, (name, colour) in enumerate(zip(names, group_colours(len(names)), strict=True)):
            figure.add_bar(
                x=layers,
                y=100 * shares[:, group],
                name=name,
                marker_color=colour,
                legendgroup=name,
                showlegend=column == 1,
                hovertemplate=f"{name} in %{{x}}: %{{y:.1f}} %<extra>{title}</extra>",
                row=row,
                col=column,
            )
    figure.update_layout(barmode="stack", height=380, legend={"orientation": "h", "y": -0.25})
    figure.update_xaxes(title="layer, from image to output")
    figure.update_yaxes(range=[0, 100])
    figure.update_yaxes(title="share of the filters (%)", col=1)
    return figure


def plot_first_passage(record: GroupingRecord) -> "Figure":
    """Plots which part of each layer's filters had settled by an iteration."""
    figure = new_figure()
    end = float(record.iterations[-1])
    for depth, (name, values) in enumerate(record.layers.items()):
        times, settled = settled_shares(record.iterations, values)
        figure.add_scatter(
            x=[0, *times, end],
            y=[0, *settled, settled[-1]],
            mode="lines",
            name=name,
            line={
                "shape": "hv",
                "color": depth_colours(len(record.layers))[depth],
                "dash": "dash" if depth % 2 else "solid",
            },
            hovertemplate=f"{name}: %{{y:.0f}} % settled by iteration %{{x}}<extra></extra>",
        )
    figure.update_xaxes(title="iteration", range=[0, max(end, 1)])
    figure.update_yaxes(title=f"filters with p > {THRESHOLD} for good (%)", range=[-2, 102])
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.25})
    return figure


def plot_curves(columns: Mapping[str, np.ndarray], x: str = "iteration", best: float | None = None) -> "Figure":
    """Plots training curves, training and validation of a quantity in one panel; see `curves.write_curves`."""
    panels = curve_panels(columns, x)
    figure, places = panel_grid(list(panels), across=min(3, len(panels)), height=260)
    in_legend: set[str] = set()
    for quantity, names in panels.items():
        row, column = places[quantity]
        for name in names:
            validation = name != quantity
            owner = "validation" if validation else "training"
            values = np.asarray(columns[name], float)
            finite = np.isfinite(values)
            figure.add_scatter(
                x=np.asarray(columns[x])[finite],
                y=values[finite],
                mode="lines+markers" if validation or finite.sum() < 3 else "lines",
                marker_size=5,
                line_color=VALIDATION_COLOUR if validation else TRAINING_COLOUR,
                name=owner,
                legendgroup=owner,
                hovertemplate=f"{quantity} %{{y:.4g}} at {x} %{{x}}<extra>%{{fullData.name}}</extra>",
                showlegend=owner not in in_legend,
                row=row,
                col=column,
            )
            in_legend.add(owner)
            mark = value_at(columns[x], values, best) if validation else None
            if best is not None and mark is not None:
                _mark_best(figure, (best, mark), (quantity, x), BEST not in in_legend, row, column)
                in_legend.add(BEST)
        if is_wide([columns[name] for name in names]):
            figure.update_yaxes(type="log", row=row, col=column)
    figure.update_xaxes(title=x)
    figure.update_yaxes(exponentformat="e")
    figure.update_layout(legend={"orientation": "h", "y": 1, "yanchor": "top", "yref": "container"}, margin_t=70)
    return figure


def _mark_best(
    figure: "Figure", place: tuple[float, float], names: tuple[str, str], in_legend: bool, row: int, column: int
) -> None:
    """Adds a dotted line at the best checkpoint, and a star on the validation curve."""
    (best, value), (quantity, x) = place, names
    figure.add_vline(x=best, line={"color": VALIDATION_COLOUR, "width": 1, "dash": "dot"}, row=row, col=column)
    figure.add_scatter(
        x=[best],
        y=[value],
        mode="markers",
        marker={"symbol": "star", "size": 13, "color": VALIDATION_COLOUR},
        name=BEST,
        legendgroup=BEST,
        hovertemplate=f"{quantity} %{{y:.4g}} at {x} %{{x}}<extra>{BEST}</extra>",
        showlegend=in_legend,
        row=row,
        col=column,
    )


def plot_values(
    truth: Sequence[float], prediction: Sequence[float], names: Sequence[str], what: str, unit: str = ""
) -> "Figure":
    """Plots one value per subject, predicted against true, with the line on which they agree."""
    figure = new_figure()
    both = [*truth, *prediction]
    ends = [min(both), max(both)]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": SHARED_COLOUR, "dash": "dot"}, hoverinfo="skip")
    figure.add_scatter(
        x=list(truth),
        y=list(prediction),
        mode="markers",
        marker={"color": TRAINING_COLOUR, "size": 7, "opacity": 0.7},
        text=list(names),
        hovertemplate="%{text}: true %{x:.4g}, predicted %{y:.4g}<extra></extra>",
    )
    figure.update_xaxes(title=with_unit(f"true {what}", unit))
    figure.update_yaxes(title=with_unit(f"predicted {what}", unit))
    figure.update_layout(height=380, showlegend=False)
    return figure


def _plot_histograms(record: GroupingRecord) -> "Figure":
    figure, places = panel_grid([f"{name}, {len(values)} filters" for name, values in record.last().items()])
    for values, (row, column) in zip(record.last().values(), places.values(), strict=True):
        counts, edges = np.histogram(values[:, -1], HISTOGRAM_BINS, (0, 1))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / len(values),
            width=1 / HISTOGRAM_BINS,
            marker_color=SHARED_COLOUR,
            showlegend=False,
            hovertemplate="p of shared %{x:.2f}: %{y:.0f} % of the filters<extra></extra>",
            row=row,
            col=column,
        )
    figure.update_xaxes(title="p of shared", range=[0, 1])
    figure.update_yaxes(title="filters per bin (%)", range=[0, 102])
    return figure


def _triangles(
    views: Sequence[SimplexView], titles: Mapping[str, str]
) -> tuple["Figure", dict[tuple[SimplexView, str], tuple[int, int]]]:
    """Returns a figure with a triangle for every view and layer, corners named, and row and column of each."""
    from plotly.subplots import make_subplots

    layers = list(titles)
    across = min(MOST_TRIANGLES, len(layers)) if len(views) == 1 else len(layers)
    keys = [(view, name) for view in views for name in layers]
    down = -(-len(keys) // across)
    kinds: Any = [
        [{"type": "ternary"} if row * across + column < len(keys) else None for column in range(across)]
        for row in range(down)
    ]
    shown = [titles[name] for _ in views for name in layers]
    figure = make_subplots(
        down, across, specs=kinds, subplot_titles=shown, vertical_spacing=0.2 / down, horizontal_spacing=0.16 / across
    )
    places = {key: (number // across + 1, number % across + 1) for number, key in enumerate(keys)}
    axis = {"ticks": "", "showticklabels": False, "showgrid": False, "linewidth": 1}
    for (view, _), (row, column) in places.items():
        left, right, top = short_names(view.corners, 10)
        corners = {
            name: {"title": {"text": text, "font": {"size": 13}}, **axis}
            for name, text in (("aaxis", top), ("baxis", left), ("caxis", right))
        }
        figure.update_ternaries(bgcolor="white", row=row, col=column, **corners)
    figure.update_annotations(font_size=13, yshift=22)
    styled(figure, down, across, TRIANGLE)
    meta = {"min_width": across * 0.8 * TRIANGLE + 90}
    return figure.update_layout(margin_b=30, height=TRIANGLE * down + 70, meta=meta), places
