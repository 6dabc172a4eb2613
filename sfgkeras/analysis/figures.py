"""Writes every figure of a run as PNG, PDF and interactive HTML."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.analysis.activation_maps import ActivationMaps, draw_activations, plot_activations
from sfgkeras.analysis.curves import draw_curves
from sfgkeras.analysis.grouping_figures import (
    THRESHOLD,
    draw_density,
    draw_first_passage,
    draw_shares,
    draw_trajectories,
)
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.interactive import plot_curves, plot_density, plot_first_passage, plot_shares, plot_trajectories
from sfgkeras.analysis.pictures import save_figure, save_text
from sfgkeras.analysis.sharing_figures import draw_course, draw_sharing
from sfgkeras.analysis.sharing_plots import plot_course, plot_sharing
from sfgkeras.analysis.sharing_record import SharingRecord, has_moved

PRINT_DPI = 150
CURVES_CAPTION = "Panels named after a task show its loss, others the whole loss or a score in validation."
SCRIPT = "plotly.min.js"
MAPS_CAPTION = (
    "The filters of lowest and of highest entropy of p of every group, and what each answers to this slice; every map "
    "has its own scale, bright is high."
)


@dataclass(frozen=True)
class FigureKind:
    """One figure of a record: of the grouping probabilities, or of which tasks share what.

    Attributes:
        title: Its heading.
        caption: What it shows, for readers who have not read the paper.
        draw: Draws it for print.
        plot: Plots it for a browser.
        is_of_course: Whether it says where probabilities went, and so nothing of groups that are fixed.
    """

    title: str
    caption: str
    draw: Callable[[Any], Any]
    plot: Callable[[Any], Any]
    is_of_course: bool = True


@dataclass(frozen=True)
class WrittenFigure:
    """A figure on disk.

    Attributes:
        name: Its files are `<name>.png`, `<name>.pdf` and `<name>.html`.
        title: Its heading.
        caption: What it shows.
        folder: Where it lies.
        interactive: The figure for a browser.
    """

    name: str
    title: str
    caption: str
    folder: Path
    interactive: Any

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """PNG, PDF and HTML."""
        png, pdf, html = (self.folder / f"{self.name}.{ending}" for ending in ("png", "pdf", "html"))
        return png, pdf, html


GROUPING_FIGURES: Mapping[str, FigureKind] = {
    "simplex_density": FigureKind(
        "Where the filters of each layer belong",
        "Density of the grouping probabilities p at the last note. A filter in a corner belongs to that group; one in "
        "the middle is undecided. Histogram over the triangle, smoothed with a Gaussian of one bin.",
        draw_density,
        plot_density,
    ),
    "trajectories": FigureKind(
        "How the filters got there",
        "Paths of p during training, coloured by iteration: thin for every filter, thick for the mean of the layer.",
        draw_trajectories,
        plot_trajectories,
    ),
    "group_shares": FigureKind(
        "Specialists and generalists by depth",
        "Share of each group in the filters of a layer, counted by most probable group and as mean of p.",
        draw_shares,
        plot_shares,
        is_of_course=False,
    ),
    "first_passage": FigureKind(
        "When filters settled",
        f"First note from which on p of the group that a filter ends in stays above {THRESHOLD}.",
        draw_first_passage,
        plot_first_passage,
    ),
}

SHARING_FIGURES: Mapping[str, FigureKind] = {
    "sharing": FigureKind(
        "Which tasks share what, layer by layer",
        "How much of what a task uses at a stage the other uses, or trains, too: 0 is an independent network for each, "
        "1 is hard sharing. Of two tasks the bar is the mean of both directions, which the line spans; of more tasks, "
        "a row says what a task shares with the task of each column.",
        draw_sharing,
        plot_sharing,
    ),
    "sharing_course": FigureKind(
        "How sharing changed",
        "The same over the training, means over all pairs of tasks.",
        draw_course,
        plot_course,
    ),
}


def write_sharing_figures(folder: Path, record: SharingRecord) -> list[WrittenFigure]:
    """Writes the figures of which tasks share what; that of the course only where something has changed.

    Args:
        folder: Where the files go; made where it is missing.
        record: What was noted, of at least two tasks.
    """
    wanted = {name: kind for name, kind in SHARING_FIGURES.items() if name == "sharing" or has_moved(record)}
    return [
        _write(folder, name, kind.title, kind.caption, kind.draw(record), kind.plot(record))
        for name, kind in wanted.items()
    ]


def write_figures(
    folder: Path, record: GroupingRecord | None, activations: ActivationMaps | None = None
) -> list[WrittenFigure]:
    """Writes the figures of a run's grouping probabilities and, where they are given, of its activation maps.

    Of groups that are fixed (`GroupingRecord.is_fixed`) there are only the shares.

    The interactive pages share one copy of plotly.js beside them and load nothing from the network.

    Args:
        folder: Where the files go; made where it is missing.
        record: The grouping probabilities; None for a network without any.
        activations: Activation maps.

    Returns:
        What was written.
    """
    written = []
    if record is not None:
        for name, kind in GROUPING_FIGURES.items():
            if record.is_fixed and kind.is_of_course:
                continue
            written.append(_write(folder, name, kind.title, kind.caption, kind.draw(record), kind.plot(record)))
    if activations is not None:
        for number, title in enumerate(activations.slices):
            drawn, plotted = draw_activations(activations, number), plot_activations(activations, number)
            name = f"activations_{number + 1}"
            written.append(_write(folder, name, f"Activation maps: {title}", MAPS_CAPTION, drawn, plotted))
    return written


def write_curve_figure(
    folder: Path, columns: Mapping[str, np.ndarray], best: int | None = None, best_epoch: float | None = None
) -> WrittenFigure:
    """Writes training and validation curves as PNG, PDF and interactive HTML.

    Args:
        folder: Where the files go; made where it is missing.
        columns: See `curves.draw_curves`; with a column `epoch`, or else `iteration`, for the horizontal axis.
        best: The iteration of the best checkpoint, which is marked; None for none.
        best_epoch: The epoch of it, where the axis has epochs.
    """
    caption = CURVES_CAPTION + ("" if best is None else f" A star marks the best checkpoint, of iteration {best:,}.")
    x, place = ("epoch", best_epoch) if "epoch" in columns else ("iteration", best)
    figure = WrittenFigure("curves", "Losses and scores", caption, folder, plot_curves(columns, x, place))
    drawn = draw_curves(columns, x, best=place)
    for path in figure.paths[:2]:
        save_figure(drawn, path, PRINT_DPI)
    _write_page(figure)
    return figure


def _write(folder: Path, name: str, title: str, caption: str, drawn: Any, plotted: Any) -> WrittenFigure:
    figure = WrittenFigure(name, title, caption, folder, plotted)
    png, pdf, _ = figure.paths
    save_figure(drawn, png, PRINT_DPI)
    save_figure(drawn, pdf, PRINT_DPI)
    _write_page(figure)
    return figure


def _write_page(figure: WrittenFigure) -> None:
    from plotly.offline import get_plotlyjs

    script, library = figure.folder / SCRIPT, get_plotlyjs()
    # One copy for all pages, of the version that made them.
    if not script.is_file() or script.stat().st_size != len(library.encode()):
        save_text(script, library)
    text = figure.interactive.to_html(include_plotlyjs=SCRIPT, full_html=True, config={"responsive": True})
    save_text(figure.paths[2], text)
