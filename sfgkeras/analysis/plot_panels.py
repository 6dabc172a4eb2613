"""Figures for a browser: sizes, fonts, and grids of panels with titles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfgkeras.analysis.grouping_figures import MOST_COLUMNS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PANEL = 205


def new_figure() -> "Figure":
    """Returns an empty figure of one panel."""
    from plotly.graph_objects import Figure

    figure = Figure()
    return styled(figure, 1, 1, 380)


def styled(figure: "Figure", down: int, across: int, height: int) -> "Figure":
    """Sets sizes and fonts; the smallest readable width is kept in the figure's `meta`."""
    figure.update_layout(
        template="plotly_white",
        height=height * down + 90,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        meta={"min_width": across * PANEL + 90},
    )
    return figure


def panel_grid(
    titles: Sequence[str], across: int = MOST_COLUMNS, height: int = PANEL
) -> tuple["Figure", dict[str, tuple[int, int]]]:
    """Returns a figure with a panel per title, and row and column of each."""
    from plotly.subplots import make_subplots

    across = min(across, len(titles))
    down = -(-len(titles) // across)
    figure = make_subplots(
        down, across, subplot_titles=list(titles), vertical_spacing=0.42 / down if down > 1 else 0.0,
        horizontal_spacing=0.2 / across,
    )  # fmt: skip
    places = {title: (number // across + 1, number % across + 1) for number, title in enumerate(titles)}
    figure.update_annotations(font_size=13)
    return styled(figure, down, across, height), places
