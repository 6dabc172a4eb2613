"""What sections of a page are made of: every function fills one macro of `templates/elements.html`.

Arguments are plain strings, which the macros escape, or HTML that another function here returned.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sfgkeras.pages.page import environment


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says, or HTML.
        is_number: Whether it stands to the right.
        shade: How strongly it is coloured, 0 to 1; None for not at all.
    """

    text: str
    is_number: bool = False
    shade: float | None = None


def paragraph(text: str) -> Markup:
    """Returns a paragraph."""
    return _fill("paragraph", text)


def heading(text: str) -> Markup:
    """Returns a heading within a section."""
    return _fill("heading", text)


def notice(text: str, command: str = "") -> Markup:
    """Returns a box that says what is missing and which command makes it."""
    return _fill("notice", text, command)


def facts_html(facts: Mapping[str, str]) -> Markup:
    """Returns short facts as a grid of cards."""
    return _fill("facts", facts)


def folded(summary: str, body: str) -> Markup:
    """Returns HTML behind a line that opens it."""
    return _fill("folded", summary, body)


def code_block(text: str) -> Markup:
    """Returns text with its line breaks in a fixed-width font."""
    return _fill("code_block", text)


def code(text: str) -> Markup:
    """Returns words in a fixed-width font within a line."""
    return Markup("<code>{}</code>").format(text)


def link(path: str, name: str) -> Markup:
    """Returns a link to a file beside the page."""
    return Markup('<a href="{}">{}</a>').format(path, name)


def links_html(paths: Mapping[str, str]) -> Markup:
    """Returns links to files beside the page, by what they are called."""
    return Markup(" ").join(link(path, name) for name, path in paths.items())


def cells_html(
    head: Sequence[Cell], rows: Sequence[Sequence[Cell]], caption: str, marked: Sequence[int] = (), css: str = ""
) -> Markup:
    """Returns a table whose first column heads its rows; it scrolls sideways where the screen is narrower.

    Args:
        head: Headings of the columns.
        rows: The cells.
        caption: Written above it.
        marked: Rows that stand out; they must also say so in words.
        css: Class of the table.
    """
    return _fill("table", head, rows, caption, list(marked), css)


def chart_html(figure_json: str, width: int, height: int, title: str, caption: str, note: str = "") -> Markup:
    """Returns a plotly figure with its heading.

    Args:
        figure_json: The figure as plotly writes it.
        width: Least width at which it can be read, in pixels.
        height: Its height.
        title: Its heading.
        caption: What it shows.
        note: Text or HTML after the caption.
    """
    return _fill("chart", data_html(figure_json), width, height, title, caption, note)


def picture_html(source: str, title: str, caption: str, width: int, note: str = "") -> Markup:
    """Returns a printed figure with its heading; it scrolls sideways on narrow screens.

    Args:
        source: A data URI, or a path beside the page.
        title: Its heading.
        caption: What it shows.
        width: In pixels.
        note: Text or HTML after the caption.
    """
    return _fill("picture", source, title, caption, width, note)


def thumbnail_html(source: str, alternative: str, width: int) -> Markup:
    """Returns a picture that never is wider than its cell, loaded when it comes into view."""
    return Markup('<img class="thumbnail" loading="lazy" src="{}" alt="{}" width="{}">').format(
        source, alternative, width
    )


def viewer_html(viewer: Mapping[str, Any], data: Mapping[str, Any]) -> Markup:
    """Returns the slices of a subject with a slider; `data` goes to the page's script."""
    return _fill("viewer", viewer, data_html(json.dumps(data)))


def slices_html(body: str) -> Markup:
    """Returns viewers of slices in a part of the page that can be closed."""
    return _fill("slices", body)


def planes_html(settings: Mapping[str, Any], subjects: Sequence[Mapping[str, Any]]) -> Markup:
    """Returns the viewer of three planes; each of `subjects` goes to the page's script on its own."""
    return _fill("planes", settings, [data_html(json.dumps(subject)) for subject in subjects])


def data_html(text: str) -> Markup:
    """Returns JSON for the page's script; `<` is written so that no text can end the element."""
    safe = text.replace("<", "\\u003c")
    return Markup(f'<script type="application/json">{safe}</script>')


def _fill(macro: str, *values: Any) -> Markup:
    return Markup(getattr(environment().get_template("elements.html").module, macro)(*values))
