"""One self-contained HTML page, the same for every verb: a header, sections, and the scripts that they need.

A template, a style sheet and a script make up all pages. Text is escaped by the template engine; only what the macros
of `elements` return counts as HTML. Large libraries of scripts are part of the page once, packed, and only where a
section asks for one.
"""

import base64
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import unescape
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import sfgkeras
from sfgkeras.errors import DataError

# Nothing may be loaded from anywhere, whatever a file that the page quotes may hold.
POLICY = "default-src 'none'; img-src {images}data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
GENERATOR = "sfgkeras"
PLOTLY, NIIVUE = "plotly", "niivue"
_META = re.compile(r'<meta name="(generator|sfgkeras-subject)" content="([^"]*)">')
_HEAD = 4096


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        body: HTML of `elements`; a plain string is escaped.
    """

    name: str
    title: str
    body: str


@dataclass(frozen=True)
class Header:
    """What stands above the sections.

    Attributes:
        title: The page's heading.
        subtitle: One line below it.
        facts: When, how and by what the page was made, by name.
        subject: What the page is about, e.g. the folder of a run; `refuse_foreign_page` knows it again.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str]
    subject: str = ""


@cache
def environment() -> Environment:
    """Returns the template engine: everything is escaped, a missing value is an error."""
    return Environment(
        loader=PackageLoader("sfgkeras.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_html(header: Header, sections: Sequence[Section], footer: str, linked_pictures: bool = False) -> str:
    """Returns the whole page.

    Args:
        header: What stands on top.
        sections: The parts, in order.
        footer: The last line.
        linked_pictures: Whether pictures beside the page may be shown; without it, only those within it.
    """
    body = "".join(section.body for section in sections)
    libraries = {name: pack_library(name) for name in (PLOTLY, NIIVUE) if f'data-needs="{name}"' in body}
    return (
        environment()
        .get_template("page.html")
        .render(
            header=header,
            sections=sections,
            footer=footer,
            generator=f"{GENERATOR} {sfgkeras.__version__}",
            policy=POLICY.format(images="'self' file: " if linked_pictures else ""),
            style=Markup(_own_file("page.css")),
            script=Markup(_own_file("page.js")),
            libraries=libraries,
        )
    )


def refuse_foreign_page(path: Path, subject: str) -> None:
    """Refuses to replace a page that this package has not written, or has written about something else.

    Args:
        path: Where a page shall be written.
        subject: What it is about; see `Header`.

    Raises:
        DataError: If a file is in the way; says what it is.
    """
    if not path.exists():
        return
    try:
        head = path.read_bytes()[:_HEAD].decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); choose another folder") from error
    found = {name: unescape(value) for name, value in _META.findall(head)}
    if not found.get("generator", "").startswith(f"{GENERATOR} "):
        raise DataError(f"{path}: exists and is no page of sfgkeras; add --overwrite, or choose another --output")
    if found.get("sfgkeras-subject", "") != subject:
        raise DataError(
            f"{path}: is the page of {found.get('sfgkeras-subject') or 'something else'}, not of {subject}; add "
            "--overwrite, or choose another --output"
        )


@cache
def pack_library(name: str) -> str:
    """Returns a library of scripts, compressed, as base64: a third of its size; the page's script unpacks it."""
    if name == PLOTLY:
        from plotly.offline import get_plotlyjs

        text = get_plotlyjs()
    else:
        text = _own_file("vendor/niivue.umd.js")
    # Without the time, the same library gives the same bytes.
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _own_file(name: str) -> str:
    return (files("sfgkeras.pages") / name).read_text(encoding="utf-8")
