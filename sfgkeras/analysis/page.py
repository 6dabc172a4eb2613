"""Tables of measures and charts as parts of a page."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from sfgkeras.analysis.tables import Row, cell_text, column_names, is_number
from sfgkeras.pages import elements
from sfgkeras.pages.elements import Cell

MOST_ROWS = 400


def table_html(
    rows: Sequence[Row], caption: str, columns: Sequence[str] | None = None, marked: Sequence[int] = ()
) -> Markup:
    """Returns a table; the first column heads its row, numbers stand to the right, long tables are cut with a note.

    Args:
        rows: One per line.
        caption: Written above it.
        columns: Which columns, in order; None for all.
        marked: Rows that stand out; they must also say so in words.
    """
    columns = column_names(rows) if columns is None else columns
    numeric = {name: any(is_number(row.get(name)) for row in rows) for name in columns}
    head = [Cell(name.replace("_", " "), numeric[name]) for name in columns]
    lines = [[Cell(cell_text(row.get(name)), numeric[name]) for name in columns] for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        caption += f". The first {MOST_ROWS} of {len(rows)} rows; the CSV file has all."
    return elements.cells_html(head, lines, caption, marked)


def confusion_html(matrix: Sequence[Sequence[int]], names: Sequence[str], caption: str) -> Markup:
    """Returns a confusion matrix, truth in rows, cells shaded by their share of the row."""
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        total = max(sum(counts), 1)
        rows.append([Cell(f"true {name}"), *(Cell(str(int(count)), shade=0.55 * count / total) for count in counts)])
    head = [Cell(""), *(Cell(name) for name in names)]
    return elements.cells_html(head, rows, f"{caption}: subjects with their truth in rows, prediction in columns")


def chart_html(figure: Any, title: str, caption: str, note: str = "") -> Markup:
    """Returns a plotly figure with its heading; it scrolls sideways where the screen is narrower than it can bear."""
    width = int((figure.layout.meta or {}).get("min_width", 320))
    return elements.chart_html(figure.to_json(), width, int(figure.layout.height or 400), title, caption, note)
