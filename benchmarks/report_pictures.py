"""Puts pictures of a run's report beside each other in one SVG file, as pages of the documentation show them.

    python benchmarks/report_pictures.py models/ynet/report/report.html docs/papers/ynet.svg [--subjects 2] [--skip 0]

A row or more for each subject: the slice that the report opens with, of every panel, with true outlines solid and
predicted ones dashed; below, the colours of outlines. For data that are drawn: what the picture shows becomes part of
the file.
"""

import argparse
import html
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDE, GAP, LINE = 180, 8, 16
IN_A_ROW = 4
MOST_BYTES = 100_000
VIEWER = re.compile(
    r'<div class="viewer"><h3>.*?</h3>(?P<shown>.*?)<script type="application/json">(?P<data>.*?)</script>', re.DOTALL
)
RATIO = re.compile(r"aspect-ratio: ?([\d.]+)")
OUTLINES = re.compile(r'viewBox="0 0 (\d+) (\d+)"')
LEGEND = re.compile(r'<li><i style="background:(#\w+)"></i>(.*?)</li>')
DASHED = 'stroke-dasharray="5 3"'


def read_viewers(page: str) -> list[dict[str, Any]]:
    """Returns of every subject of a report its panels, shape and the colours of its outlines."""
    found = []
    for match in VIEWER.finditer(page):
        shown, data = match["shown"], json.loads(match["data"])
        size = OUTLINES.search(shown)
        ratio = RATIO.search(shown)
        found.append(
            {
                "panels": data["panels"],
                "middle": len(data["places"]) // 2,
                "ratio": float(ratio[1]) if ratio else 1.0,
                "voxels": (int(size[1]), int(size[2])) if size else (1, 1),
                "legend": dict(LEGEND.findall(shown)),
            }
        )
    return found


def panel_elements(viewer: dict[str, Any], panel: dict[str, Any], left: float, top: float, height: float) -> list[str]:
    """Returns a panel's title, picture and outlines."""
    images = panel["images"]
    # A number names the panel whose pictures it shares.
    images = viewer["panels"][images]["images"] if isinstance(images, int) else images
    place = f'x="{left}" y="{top}" width="{SIDE}" height="{height:.0f}" preserveAspectRatio="none"'
    found = [
        f'<text x="{left}" y="{top - 4}">{html.escape(panel["title"])}</text>',
        f'<image {place} style="image-rendering:pixelated" href="{images[viewer["middle"]]}"/>',
    ]
    columns, rows = viewer["voxels"]
    for owner, slices in panel["outlines"].items():
        paths = "".join(
            f'<path d="{path}" stroke="{colour}" vector-effect="non-scaling-stroke"/>'
            for colour, path in slices[viewer["middle"]]
        )
        dashes = DASHED if owner == "prediction" else ""
        found.append(
            f'<svg {place} viewBox="0 0 {columns} {rows}"><g fill="none" stroke-width="1.5" {dashes}>{paths}</g></svg>'
        )
    return found


def picture(viewers: Sequence[dict[str, Any]]) -> str:
    """Returns the SVG of some subjects, on a white card of its own, to be read on light and on dark pages."""
    columns = min(IN_A_ROW, max(len(viewer["panels"]) for viewer in viewers))
    width = columns * (SIDE + GAP) + GAP
    elements, top = [], float(GAP)
    for viewer in viewers:
        height = SIDE / viewer["ratio"]
        for number, panel in enumerate(viewer["panels"]):
            row, column = divmod(number, columns)
            place = GAP + column * (SIDE + GAP), top + LINE + row * (LINE + height + GAP)
            elements += panel_elements(viewer, panel, *place, height)
        top += -(-len(viewer["panels"]) // columns) * (LINE + height + GAP)
    left = GAP
    for colour, name in {c: n for viewer in viewers for c, n in viewer["legend"].items()}.items():
        wide = 22 + 7 * len(html.unescape(name))
        if left > GAP and left + wide > width:
            left, top = GAP, top + LINE
        elements.append(f'<rect x="{left}" y="{top}" width="10" height="10" fill="{colour}"/>')
        elements.append(f'<text x="{left + 14}" y="{top + 9}">{name}</text>')
        left += wide
    top += LINE if left > GAP else 0
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top:.0f}" viewBox="0 0 {width} {top:.0f}" '
        f'font-family="sans-serif" font-size="12" fill="#222"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(elements)}</svg>\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; 1 if the report shows no subject, or the picture would be large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--subjects", type=int, default=2, help="how many")
    parser.add_argument("--skip", type=int, default=0, help="subjects before the first")
    given = parser.parse_args(arguments)
    viewers = read_viewers(given.report.read_text(encoding="utf-8"))[given.skip :][: given.subjects]
    if not viewers:
        print(f"{given.report}: shows no subject there", file=sys.stderr)
        return 1
    text = picture(viewers)
    if len(text.encode()) > MOST_BYTES:
        print(f"{given.report}: the picture has {len(text.encode())} bytes; show fewer subjects", file=sys.stderr)
        return 1
    given.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
