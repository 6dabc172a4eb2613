"""Which tasks share what, for a browser: what `sharing_figures` draws, with values under the pointer."""

from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.analysis.plot_panels import new_figure, panel_grid
from sfgkeras.analysis.sharing_figures import DARK_FROM, DIAGONAL, LABEL, MOST_COLUMNS
from sfgkeras.analysis.sharing_record import SharingRecord, shared_course
from sfgkeras.analysis.style import DENSITY_COLOURS, TRAINING_COLOUR, depth_colours, short_names

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MATRIX = 190


def plot_sharing(record: SharingRecord) -> "Figure":
    """Plots the newest matrices of a run: a bar per stage for two tasks, a matrix per stage for more."""
    if record.num_tasks == 2:
        return _plot_bars(record)
    matrices, names = record.last(), short_names(record.task_names, 10)
    figure, places = panel_grid(list(matrices), min(len(matrices), MOST_COLUMNS), MATRIX)
    for stage, matrix in matrices.items():
        row, column = places[stage]
        values = np.array(matrix, np.float64)
        np.fill_diagonal(values, np.nan)
        figure.add_heatmap(
            z=values,
            x=names,
            y=names,
            coloraxis="coloraxis",
            hovertemplate=f"{stage}: %{{y}} shares %{{z:.2f}} of what it uses with %{{x}}<extra></extra>",
            hoverongaps=False,
            row=row,
            col=column,
        )
        for line, place in zip(*np.nonzero(~np.isnan(values)), strict=True):
            value = values[line, place]
            figure.add_annotation(
                x=names[place],
                y=names[line],
                text=f"{value:.2f}",
                showarrow=False,
                font={"size": 10, "color": "white" if value > DARK_FROM else "black"},
                row=row,
                col=column,
            )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, tickangle=-45)
    bar = {"title": "shared", "tickvals": [0, 0.5, 1], "len": 0.9}
    figure.update_layout(
        coloraxis={"colorscale": list(DENSITY_COLOURS), "cmin": 0, "cmax": 1, "colorbar": bar},
        # Seen where a matrix has no value: on its diagonal.
        plot_bgcolor=DIAGONAL,
        margin_b=80,
    )
    return figure


def _plot_bars(record: SharingRecord) -> "Figure":
    """Plots for two tasks how much they share; the line spans the parts of the one and of the other."""
    figure = new_figure()
    first, second = short_names(record.task_names)
    stages = list(record.last())
    parts = np.array([[matrix[0, 1], matrix[1, 0]] for matrix in record.last().values()])
    share, spread = parts.mean(axis=1), np.ptp(parts, axis=1) / 2
    figure.add_bar(
        x=stages,
        y=share,
        marker_color=TRAINING_COLOUR,
        error_y={"type": "data", "array": spread, "thickness": 1.2, "visible": bool(spread.any())},
        customdata=parts,
        hovertemplate=(
            f"%{{x}}: {first} shares %{{customdata[0]:.2f}} of what it uses with {second}, "
            f"{second} %{{customdata[1]:.2f}} with {first}<extra></extra>"
        ),
    )
    figure.update_xaxes(title="stage, from image to output")
    figure.update_yaxes(title=LABEL, range=[0, 1.05])
    return figure.update_layout(height=380, showlegend=False)


def plot_course(record: SharingRecord) -> "Figure":
    """Plots how much tasks shared at every stage while training, means over all pairs."""
    figure = new_figure()
    courses = shared_course(record)
    for depth, (stage, values) in enumerate(courses.items()):
        figure.add_scatter(
            x=record.iterations,
            y=values,
            mode="lines",
            name=stage,
            line={"color": depth_colours(len(courses))[depth], "dash": "dash" if depth % 2 else "solid"},
            hovertemplate=f"{stage}: %{{y:.3f}} at iteration %{{x}}<extra></extra>",
        )
    figure.update_xaxes(title="iteration", range=[0, max(float(record.iterations[-1]), 1.0)])
    figure.update_yaxes(title=LABEL, range=[-0.02, 1.02])
    return figure.update_layout(height=380, legend={"orientation": "h", "y": -0.25})
