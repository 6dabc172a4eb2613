"""Which tasks share what, layer by layer: one picture in one style for all mechanisms, alone and side by side.

With two tasks a stage is one number, how much the two share; with more it is a small matrix, whose row i and column j
say how much of what task i uses task j uses, too. The scale is 0 (independent networks) to 1 (hard sharing) everywhere.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.sharing_record import SharingRecord, mutual, shared_course
from sfgkeras.analysis.style import DENSITY_COLOURS, SHARED_COLOUR, TRAINING_COLOUR, depth_colours, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 6
SIDE = 1.75  # inches of a matrix of its own
SMALL = 0.72  # inches of a matrix beside those of other mechanisms
DARK_FROM = 0.5  # numbers on cells of more are white
DIAGONAL = "#e4e4e4"
LABEL = "shared: 0 independent, 1 all"


def draw_sharing(record: SharingRecord) -> "Figure":
    """Draws the newest matrices of a run: a bar per stage for two tasks, a matrix per stage for more."""
    if record.num_tasks == 2:
        return _draw_bars(record)
    matrices = record.last()
    across = min(len(matrices), MOST_COLUMNS)
    down = -(-len(matrices) // across)
    figure, grid = _matrix_grid(down, across, SIDE, left=1.1, top=1.0)
    names = short_names(record.task_names, 10)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(matrices):
            axes.remove()
            continue
        stage, matrix = list(matrices.items())[place]
        shown = draw_matrix(axes, matrix, numbers=record.num_tasks <= 5)
        axes.set_title(stage, fontsize=9)
        is_last = place + across >= len(matrices)
        axes.set_xticks(range(len(names)), names if is_last else [], rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(names)), names if place % across == 0 else [], fontsize=8)
    _add_scale(figure, shown, [axes for axes in grid.ravel() if axes.figure is not None])
    figure.supxlabel("with task", fontsize=9)
    figure.supylabel("what this task uses", fontsize=9)
    return figure


def _draw_bars(record: SharingRecord) -> "Figure":
    """Draws for two tasks how much they share: a bar, and a line between the parts of the one and of the other."""
    from matplotlib.figure import Figure

    matrices = record.last()
    first, second = short_names(record.task_names)
    figure = Figure(figsize=(max(4.4, 0.62 * len(matrices) + 1.4), 3.2), layout="constrained")
    axes = figure.subplots()
    for place, matrix in enumerate(matrices.values()):
        both = matrix[0, 1], matrix[1, 0]
        share = float(np.mean(both))
        axes.bar(place, share, width=0.75, color=TRAINING_COLOUR)
        axes.vlines(place, *both, color="black", linewidth=1.2)
        axes.plot([place], [both[0]], marker="_", markersize=7, color="black")
        axes.plot([place], [both[1]], marker="_", markersize=7, color="black")
        axes.text(place, max(both) + 0.03, f"{share:.2f}", ha="center", fontsize=8)
    axes.set_ylim(0, 1.09)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel(LABEL, fontsize=9)
    _name_stages(axes, list(matrices))
    axes.set_xlabel("stage, from image to output", fontsize=9)
    axes.grid(axis="y", color=SHARED_COLOUR, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{first} and {second}", fontsize=10)
    return figure


def draw_course(record: SharingRecord) -> "Figure":
    """Draws how much tasks shared at every stage while training, means over all pairs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    courses = shared_course(record)
    for depth, (stage, values) in enumerate(courses.items()):
        look: dict[str, Any] = {"color": depth_colours(len(courses))[depth], "linestyle": "--" if depth % 2 else "-"}
        axes.plot(record.iterations, values, linewidth=1.8, label=stage, **look)
    axes.set(xlabel="iteration", ylabel=LABEL, ylim=(-0.02, 1.02))
    axes.set_xlim(0, max(float(record.iterations[-1]), 1.0))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def draw_sharing_compared(networks: Mapping[str, Mapping[str, np.ndarray]], task_names: Sequence[str]) -> "Figure":
    """Draws several networks side by side, a line each and stages across.

    Two tasks have a number per network and stage, more a small matrix.

    Args:
        networks: Matrices `(tasks, tasks)` by stage, of every network.
        task_names: The tasks.
    """
    stages = stages_of(networks)
    if len(task_names) == 2:
        return _draw_numbers(networks, stages, short_names(task_names))
    figure, grid = _matrix_grid(len(networks), len(stages), SMALL, left=1.5, top=0.9)
    names = short_names(list(networks), 20)
    shown = None
    for line, (name, matrices) in enumerate(zip(names, networks.values(), strict=True)):
        for place, stage in enumerate(stages):
            axes = grid[line, place]
            axes.set_xticks([])
            axes.set_yticks([])
            if line == 0:
                axes.set_title(stage, fontsize=8, rotation=45 if len(stages) > 6 else 0, ha="left", loc="left")
            if place == 0:
                axes.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
            if stage in matrices:
                shown = draw_matrix(axes, matrices[stage], numbers=False)
            else:
                axes.set_axis_off()
    _add_scale(figure, shown, list(grid.ravel()))
    order = ", ".join(short_names(task_names, 14))
    figure.supxlabel(f"rows and columns of every matrix: {order}", fontsize=8)
    return figure


def _draw_numbers(
    networks: Mapping[str, Mapping[str, np.ndarray]], stages: Sequence[str], task_names: Sequence[str]
) -> "Figure":
    """Draws a cell per network and stage, coloured by how much two tasks share and with the number in it."""
    from matplotlib.figure import Figure

    values = np.full((len(networks), len(stages)), np.nan)
    for line, matrices in enumerate(networks.values()):
        for place, stage in enumerate(stages):
            if stage in matrices:
                values[line, place] = mutual(matrices[stage])[0, 1]
    size = 0.58 * len(stages) + 3.0, 0.36 * len(networks) + 1.3
    figure = Figure(figsize=(max(4.6, size[0]), size[1]), layout="constrained")
    axes = figure.subplots()
    shown = _show(axes, values)
    axes.set_aspect("auto")
    for line, place in np.ndindex(values.shape):
        _write_number(axes, place, line, float(values[line, place]))
    _name_stages(axes, stages)
    axes.set_yticks(range(len(networks)), short_names(list(networks)), fontsize=9)
    axes.set_xlabel("stage, from image to output", fontsize=9)
    axes.set_title(f"what {' and '.join(task_names)} share", fontsize=10)
    _add_scale(figure, shown, [axes])
    return figure


def stages_of(networks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the stages of all networks, in the order of the one that has the most."""
    longest = max(networks.values(), key=len)
    return list(dict.fromkeys([*longest, *(stage for own in networks.values() for stage in own)]))


def draw_matrix(axes: "Axes", matrix: np.ndarray, numbers: bool) -> Any:
    """Draws a matrix with its diagonal, which is 1 by definition, in grey; returns the image.

    Args:
        axes: Where.
        matrix: `(tasks, tasks)`.
        numbers: Whether every entry is written out.
    """
    values = np.array(matrix, np.float64)
    np.fill_diagonal(values, np.nan)
    shown = _show(axes, values)
    if numbers:
        for line, place in np.ndindex(values.shape):
            _write_number(axes, place, line, float(values[line, place]))
    return shown


def _show(axes: "Axes", values: np.ndarray) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("shared", list(DENSITY_COLOURS)).with_extremes(bad=DIAGONAL)
    shown = axes.imshow(values, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_color("0.6")
        spine.set_linewidth(0.6)
    return shown


def _write_number(axes: "Axes", x: int, y: int, value: float) -> None:
    if not np.isnan(value):
        colour = "white" if value > DARK_FROM else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _name_stages(axes: "Axes", stages: Sequence[str]) -> None:
    slanted = len(stages) > 5 or max(map(len, stages)) > 9
    style: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(stages)), short_names(list(stages)), fontsize=8, **style)


def _matrix_grid(down: int, across: int, side: float, left: float, top: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side * across + left + 0.9, side * down + top + 0.5), layout="constrained")
    return figure, figure.subplots(down, across, squeeze=False)


def _add_scale(figure: "Figure", shown: Any, axes: Sequence["Axes"]) -> None:
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(axes), fraction=0.04, pad=0.02, aspect=25, ticks=[0, 0.5, 1])
        bar.set_label(LABEL, fontsize=8)
        bar.ax.tick_params(labelsize=8)
