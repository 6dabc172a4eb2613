"""Pictures of where images speak for a class: the image, and the map of each task over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.analysis.style import short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 1.6  # inches of a picture
COLOURS = "inferno"
OPACITY = 0.55


@dataclass(frozen=True, eq=False)
class ShownMaps:
    """One slice of a subject.

    Attributes:
        title: What it is called.
        image: `(rows, columns)`.
        maps: By task the map on the same pixels.
        told: By task what the network has told.
    """

    title: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray]
    told: Mapping[str, str]


def draw_class_maps(shown: Sequence[ShownMaps], tasks: Sequence[str]) -> "Figure":
    """Draws a line for each subject: the image, then it with the map of each task, whose highest place is marked.

    Maps of different subjects and tasks are on scales of their own: what counts is where they are high.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns, lines = len(tasks) + 1, len(shown)
    tall = float(np.clip(shown[0].image.shape[0] / shown[0].image.shape[1], 0.5, 2.0))
    size = SIDE * columns + 0.3, (SIDE * tall + 0.25) * lines + 0.3
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
    grid = figure.subplots(lines, columns, squeeze=False)
    for line, subject, name in zip(grid, shown, short_names([one.title for one in shown], 22), strict=True):
        for axes in line:
            axes.imshow(subject.image, cmap="gray", interpolation="nearest")
            axes.set_axis_off()
        line[0].set_title(name, fontsize=8)
        for axes, task in zip(line[1:], tasks, strict=True):
            found = subject.maps.get(task)
            if found is None:
                axes.set_title(f"{task}: no map", fontsize=8)
                continue
            axes.imshow(found, cmap=COLOURS, alpha=OPACITY, interpolation="bilinear")
            row, column = np.unravel_index(int(np.argmax(found)), found.shape)
            axes.plot(column, row, marker="+", color="white", markersize=9)
            axes.set_title(f"{task}: {subject.told.get(task, '')}".rstrip(": "), fontsize=8)
    return figure
