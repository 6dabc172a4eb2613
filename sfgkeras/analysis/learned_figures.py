"""What a sharing mechanism learned besides its kernels, stage by stage: a line of panels for every quantity."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.sharing_figures import DIAGONAL
from sfgkeras.analysis.style import SHARED_COLOUR, TASK_COLOURS, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 1.55  # inches of a panel
MOST_NUMBERS = 4
DARK_FROM = 0.6
# Purple below and orange above zero, white between: told apart by colour-blind readers too.
DIVERGING = "PuOr_r"


def by_quantity(learned: Mapping[str, np.ndarray], num_tasks: int) -> dict[str, dict[str, np.ndarray]]:
    """Returns what can be drawn: arrays over tasks, `(tasks, tasks)` or `(tasks,)`, by quantity and stage.

    Further axes, e.g. channels, are averaged. What belongs to no stage, or is not over tasks, is left to the tables.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, values in learned.items():
        quantity, _, stage = name.partition("/")
        array = np.asarray(values, np.float64)
        over_tasks = next((count for count in (2, 1) if array.shape[:count] == (num_tasks,) * count), 0)
        if not stage or not over_tasks or (over_tasks == 1 and array.ndim > 1):
            continue
        found.setdefault(quantity, {})[stage] = array.mean(axis=tuple(range(over_tasks, array.ndim)))
    return found


def draw_learned(learned: Mapping[str, np.ndarray], task_names: Sequence[str]) -> "Figure | None":
    """Draws every quantity over tasks: matrices stage by stage on one scale around 0, one value per task as lines.

    Args:
        learned: Arrays by `<quantity>/<stage>`; see `Trunk.learned`.
        task_names: The tasks.

    Returns:
        The figure; None where there is nothing to draw.
    """
    quantities = by_quantity(learned, len(task_names))
    if not quantities:
        return None
    from matplotlib.figure import Figure

    across = max(len(stages) for stages in quantities.values())
    size = max(SIDE * across, 3.6) + 2.2, (SIDE + 0.95) * len(quantities) + 0.2
    figure = Figure(figsize=size, layout="constrained")
    lines = figure.subfigures(len(quantities), 1, squeeze=False).ravel()
    for line, (quantity, stages) in zip(lines, quantities.items(), strict=True):
        line.suptitle(quantity.replace("_", " "), fontsize=10)
        if next(iter(stages.values())).ndim == 1:
            _draw_lines(line.subplots(), stages, task_names)
        else:
            _draw_matrices(line, stages, task_names, across)
    return figure


def _draw_matrices(line: Any, stages: Mapping[str, np.ndarray], task_names: Sequence[str], across: int) -> None:
    finite = [np.abs(matrix[np.isfinite(matrix)]) for matrix in stages.values()]
    largest = max((float(sizes.max()) for sizes in finite if sizes.size), default=0.0) or 1.0
    grid = line.subplots(1, across, squeeze=False)[0]
    for axes in grid[len(stages) :]:
        axes.remove()
    names = short_names(task_names, 10)
    for axes, (stage, matrix) in zip(grid, stages.items(), strict=False):
        shown = _draw_matrix(axes, matrix, largest)
        axes.set_title(stage, fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [], fontsize=7)
    bar = line.colorbar(shown, ax=list(grid[: len(stages)]), fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def _draw_matrix(axes: "Axes", matrix: np.ndarray, largest: float) -> Any:
    from matplotlib import colormaps

    colours = colormaps[DIVERGING].with_extremes(bad=DIAGONAL)
    shown = axes.imshow(matrix, cmap=colours, vmin=-largest, vmax=largest, interpolation="nearest")
    axes.tick_params(length=0)
    if len(matrix) <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
            value = float(matrix[row, column])
            colour = "white" if abs(value) > DARK_FROM * largest else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)
    return shown


def _draw_lines(axes: "Axes", stages: Mapping[str, np.ndarray], task_names: Sequence[str]) -> None:
    values = np.stack(list(stages.values()), axis=1)
    for task, name in enumerate(short_names(task_names)):
        colour = TASK_COLOURS[task % len(TASK_COLOURS)]
        axes.plot(values[task], color=colour, linestyle="--" if task % 2 else "-", marker="o", markersize=4, label=name)
    slanted = len(stages) > 4
    style: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(stages)), short_names(list(stages)), fontsize=8, **style)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color=SHARED_COLOUR, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
