"""The page of all verbs: no text becomes markup, libraries are in it once, foreign files are left alone."""

import base64
import gzip
import re
from html import unescape
from importlib.resources import files
from pathlib import Path

import pytest
from markupsafe import Markup

import sfgkeras
from sfgkeras.errors import DataError
from sfgkeras.pages import elements
from sfgkeras.pages.elements import Cell
from sfgkeras.pages.page import Header, Section, page_html, refuse_foreign_page

EVIL = "<script>alert(1)</script>\"'&"
HEADER = Header("Title", "Subtitle", {"Written": "today"}, "/runs/a")


def page_of(body, **options):
    return page_html(HEADER, [Section("only", "Only", body)], "Footer", **options)


@pytest.mark.parametrize(
    "body",
    [
        EVIL,
        elements.paragraph(EVIL),
        elements.heading(EVIL),
        elements.notice(EVIL, EVIL),
        elements.facts_html({EVIL: EVIL}),
        elements.folded(EVIL, EVIL),
        elements.code_block(EVIL),
        elements.code(EVIL),
        elements.links_html({EVIL: EVIL}),
        elements.cells_html([Cell(EVIL)], [[Cell(EVIL)], [Cell(EVIL, shade=0.5)]], EVIL, css=EVIL),
        elements.chart_html('{"a": "' + EVIL.replace('"', "") + '"}', 300, 200, EVIL, EVIL, EVIL),
        elements.picture_html(EVIL, EVIL, EVIL, 100),
        elements.thumbnail_html(EVIL, EVIL, 100),
        elements.slices_html(EVIL),
        elements.planes_html({"subjects": [EVIL], "legend": {EVIL: EVIL}, "note": EVIL}, [{"title": EVIL}]),
    ],
)
def test_no_text_becomes_markup(body):
    page = page_of(body)
    assert "<script>alert" not in page
    assert "alert(1)" in page
    assert not re.search(r'="[^"]*<script', page)


def test_html_of_elements_is_not_escaped_twice():
    assert elements.paragraph(Markup("Steps: {}").format(elements.code("a < b"))).strip() == (
        "<p>Steps: <code>a &lt; b</code></p>"
    )


def test_marked_rows_and_numbers_are_told_apart():
    table = elements.cells_html([Cell("name"), Cell("x", True)], [[Cell("a"), Cell("1", True)]] * 2, "c", marked=[1])
    assert table.count('class="marked"') == 1
    assert table.index("marked") > table.index("<tr>", table.index("<tbody>"))
    assert table.count('class="number"') == 3


def test_a_library_is_in_the_page_once_and_only_where_it_is_needed():
    charts = Markup("").join(elements.chart_html("{}", 300, 200, "a", "b") for _ in range(3))
    assert 'type="application/gzip"' not in page_of("nothing")
    page = page_of(charts)
    assert page.count('type="application/gzip"') == 1
    (packed,) = re.findall(r'data-library="plotly">([^<]+)<', page)
    from plotly.offline import get_plotlyjs

    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    # A third of what it was.
    assert len(page) < 0.5 * len(get_plotlyjs())


def test_pictures_beside_the_page_are_allowed_only_where_it_links_any():
    assert "img-src data: blob:;" in unescape(page_of("x"))
    assert "img-src 'self' file: data: blob:;" in unescape(page_of("x", linked_pictures=True))


def test_a_page_is_known_again_by_what_wrote_it_and_what_it_is_about(tmp_path):
    path = tmp_path / "page.html"
    refuse_foreign_page(path, "/runs/a")
    path.write_text(page_of("x"), encoding="utf-8")
    assert f'content="sfgkeras {sfgkeras.__version__}"' in path.read_text(encoding="utf-8")
    refuse_foreign_page(path, "/runs/a")
    with pytest.raises(DataError, match="is the page of /runs/a, not of /runs/b; add --overwrite"):
        refuse_foreign_page(path, "/runs/b")
    for content in (b"", b"my page", b'<meta name="generator" content="other 1.0">', b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="no page of sfgkeras"):
            refuse_foreign_page(path, "/runs/a")


def test_every_file_of_the_room_is_part_of_the_package():
    setup = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    patterns = re.search(r'"sfgkeras.pages": \[(.*?)\]', setup)[1].replace('"', "").split(", ")
    room = Path(str(files("sfgkeras.pages")))
    shipped = {path for pattern in patterns for path in room.glob(pattern)}
    others = {path for path in room.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others == shipped
    # The licence of what is not ours goes along.
    assert "Copyright (c) 2021, Niivue" in (room / "vendor" / "LICENSE.niivue.txt").read_text(encoding="utf-8")
