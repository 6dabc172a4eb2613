"""One self-contained HTML page: text, tables, charts and pictures, without anything to load.

All text that comes from files is escaped here; callers pass plain strings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from sfgkeras.analysis.tables import Row, cell_text, column_names, is_number

# Nothing may be loaded from anywhere, whatever a file that the page quotes may hold.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
MOST_ROWS = 400


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        body: HTML.
    """

    name: str
    title: str
    body: str


def page_html(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """Returns the whole page; plotly.js is part of it where a section holds a chart."""
    room = files("sfgkeras.analysis")
    style, script = ((room / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    links = "".join(f'<li><a href="#{escape(s.name)}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(
        f'<section id="{escape(s.name)}" aria-labelledby="{escape(s.name)}-title">'
        f'<h2 id="{escape(s.name)}-title">{escape(s.title)}</h2>\n{s.body}</section>'
        for s in sections
    )
    library = ""
    if any('class="chart' in section.body for section in sections):
        from plotly.offline import get_plotlyjs

        library = f"<script>{get_plotlyjs()}</script>"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f'<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f'<main id="main">\n{body}\n</main>\n<footer><p>{escape(footer)}</p></footer>\n'
        f"{library}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def paragraph(text: str) -> str:
    """Returns a paragraph."""
    return f"<p>{escape(text)}</p>\n"


def heading(text: str) -> str:
    """Returns a heading within a section."""
    return f"<h3>{escape(text)}</h3>\n"


def notice(text: str, command: str = "") -> str:
    """Returns a box that says what is missing and which command makes it."""
    remedy = f" <code>{escape(command)}</code>" if command else ""
    return f'<div class="notice"><p>{escape(text)}{remedy}</p></div>\n'


def facts_html(facts: Mapping[str, str]) -> str:
    """Returns short facts as a grid of cards."""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{entries}</dl>\n'


def folded(summary: str, body: str) -> str:
    """Returns HTML behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>\n"


def code_block(text: str) -> str:
    """Returns text with its line breaks in a fixed-width font."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>\n'


def table_html(rows: Sequence[Row], caption: str, columns: Sequence[str] | None = None) -> str:
    """Returns a table; the first column heads its row, numbers stand to the right, long tables are cut with a note."""
    columns = column_names(rows) if columns is None else columns
    numeric = {name: any(is_number(row.get(name)) for row in rows) for name in columns}

    def cell(name: str, value: Any, tag: str, scope: str = "") -> str:
        css = ' class="number"' if numeric[name] else ""
        return f"<{tag}{scope}{css}>{escape(value)}</{tag}>"

    head = "".join(cell(name, name.replace("_", " "), "th", ' scope="col"') for name in columns)
    lines = []
    for row in rows[:MOST_ROWS]:
        texts = [(name, cell_text(row.get(name))) for name in columns]
        first = cell(*texts[0], "th", ' scope="row"')
        lines.append(f"<tr>{first}{''.join(cell(name, text, 'td') for name, text in texts[1:])}</tr>")
    left_out = len(rows) - MOST_ROWS
    note = f" The first {MOST_ROWS} of {len(rows)} rows; the CSV file has all." if left_out > 0 else ""
    table = (
        f"<table><caption>{escape(caption)}{note}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return f"{_sideways(table, caption)}\n"


def confusion_html(matrix: Sequence[Sequence[int]], names: Sequence[str], caption: str) -> str:
    """Returns a confusion matrix, truth in rows, cells shaded by their share of the row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = []
    for name, counts in zip(names, matrix, strict=True):
        total = max(sum(counts), 1)
        cells = "".join(
            f'<td class="heat" style="background:rgba(var(--heat),{0.55 * count / total:.2f})">{int(count)}</td>'
            for count in counts
        )
        lines.append(f'<tr><th scope="row">true {escape(name)}</th>{cells}</tr>')
    caption = f"{caption}: truth in rows, prediction in columns"
    table = (
        f"<table><caption>{escape(caption)}</caption><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return f"{_sideways(table, caption)}\n"


def chart_html(figure: Any, title: str, caption: str, note: str = "") -> str:
    """Returns a plotly figure with its heading; it scrolls sideways where the screen is narrower than it can bear."""
    width = int((figure.layout.meta or {}).get("min_width", 320))
    height = int(figure.layout.height or 400)
    plot = f'<div class="plot" style="min-width:{width}px;height:{height}px"></div>'
    return (
        f'{heading(title)}<figure class="chart">{_sideways(plot, title)}'
        f"<figcaption>{escape(caption)} {note}</figcaption>{data_html(figure.to_json())}</figure>\n"
    )


def picture_html(source: str, title: str, caption: str, width: int, note: str = "") -> str:
    """Returns a printed figure, a data URI, with its heading; it scrolls sideways on narrow screens."""
    image = f'<img src="{escape(source)}" alt="{escape(title)}" width="{width}">'
    return (
        f'{heading(title)}<figure class="printed">{_sideways(image, title)}'
        f"<figcaption>{escape(caption)} {note}</figcaption></figure>\n"
    )


def links_html(paths: Mapping[str, str]) -> str:
    """Returns links to files beside the page, by what they are called."""
    return " ".join(f'<a href="{escape(path)}">{escape(name)}</a>' for name, path in paths.items())


def data_html(text: str) -> str:
    """Returns JSON for the page's script; `<` is written so that no text can end the element."""
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json">{safe}</script>'


def _sideways(body: str, label: str) -> str:
    """Returns HTML in a box that scrolls sideways, also by keyboard."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{body}</div>'
