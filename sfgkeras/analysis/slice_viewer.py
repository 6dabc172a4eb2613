"""The slices of a subject with a slider: pictures, outlines over them, and the HTML that holds both."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from sfgkeras.analysis.page import data_html
from sfgkeras.analysis.pictures import label_colour

OWNERS = {"truth": "true outlines (solid)", "prediction": "predicted outlines (dashed)"}
# Small pictures as PNG: JPEG's blocks would be as large as what they show.
LARGEST_PNG = 128 * 128
JPEG_QUALITY = 82


@dataclass(frozen=True)
class SlicePanel:
    """One of the pictures beside each other in a viewer.

    Attributes:
        title: Written above it.
        images: A data URI per slice.
        scale: Values of the darkest and the brightest colour, with their unit; empty for none.
        colours: `grey` or `inferno`.
        outlines: What lies over it: by `truth` and `prediction`, per slice pairs of colour and SVG path in voxels.
        legend: Colour by label name, of the outlines.
    """

    title: str
    images: Sequence[str]
    scale: tuple[str, str] | None = None
    colours: str = "grey"
    outlines: Mapping[str, Sequence[Sequence[tuple[str, str]]]] = field(default_factory=dict)
    legend: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SliceViewer:
    """The slices of one subject.

    Attributes:
        title: Its heading.
        places: What each slice is called, e.g. `axial 12 of 36`.
        size: Columns and rows of a slice, in voxels.
        ratio: Width of a picture divided by its height.
        panels: The pictures.
    """

    title: str
    places: Sequence[str]
    size: tuple[int, int]
    ratio: float
    panels: Sequence[SlicePanel]


def image_uri(image: np.ndarray, limits: tuple[float, float], colours: str = "grey") -> str:
    """Returns a picture as a data URI, PNG where it is small and JPEG elsewhere.

    Args:
        image: `(rows, columns)`; what is not finite is dark.
        limits: Values shown darkest and brightest.
        colours: `grey` or `inferno`.
    """
    from matplotlib import colormaps
    from PIL import Image

    low, high = limits
    scaled = (np.asarray(image, np.float32) - low) / ((high - low) or 1.0)
    grey = (np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1) * 255).round().astype(np.uint8)
    pixels = grey if colours == "grey" else np.asarray(colormaps[colours](grey, bytes=True))[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    kind = "PNG" if grey.size <= LARGEST_PNG else "JPEG"
    stream = io.BytesIO()
    # The quality says nothing to PNG.
    picture.save(stream, kind, optimize=True, quality=JPEG_QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def outline_paths(label_map: np.ndarray) -> list[tuple[str, str]]:
    """Returns the outline of every label above 0 as its colour and an SVG path.

    Args:
        label_map: `(rows, columns)`; a pixel covers the unit square from its column and row on.
    """
    from contourpy import contour_generator

    paths = []
    for value in np.unique(label_map[label_map > 0]):
        # A frame of zeros closes outlines at the rim; pixel centres lie half a pixel in.
        mask = np.pad(label_map == value, 1).astype(float)
        pieces = []
        for line in contour_generator(z=mask).lines(0.5):
            points = [f"{x - 0.5:.1f} {y - 0.5:.1f}" for x, y in np.asarray(line)[:-1]]
            pieces.append(f"M{'L'.join(points)}Z")
        paths.append((label_colour(int(value)), "".join(pieces)))
    return paths


def viewer_html(viewer: SliceViewer, number: int) -> str:
    """Returns the slices of one subject with a slider through them; `number` makes its ids unique."""
    middle = len(viewer.places) // 2
    owners = [owner for owner in OWNERS if any(owner in panel.outlines for panel in viewer.panels)]
    boxes = "".join(
        f'<label><input type="checkbox" value="{owner}" checked> {OWNERS[owner]}</label>' for owner in owners
    )
    data = {
        "places": list(viewer.places),
        "panels": [
            {"title": panel.title, "images": list(panel.images), "outlines": dict(panel.outlines)}
            for panel in viewer.panels
        ],
    }
    panels = "".join(_panel_html(panel, middle, viewer) for panel in viewer.panels)
    return (
        f'<div class="viewer"><h3>{escape(viewer.title)}</h3><div class="controls"><div class="slide">'
        f'<label for="slice-{number}">Slice</label><input id="slice-{number}" type="range" min="0" '
        f'max="{len(viewer.places) - 1}" value="{middle}" step="1"><output for="slice-{number}">'
        f'{escape(viewer.places[middle])}</output></div>{boxes}</div><div class="panels">{panels}</div>'
        f"{data_html(json.dumps(data))}</div>\n"
    )


def _panel_html(panel: SlicePanel, index: int, viewer: SliceViewer) -> str:
    alternative = escape(f"{panel.title}, {viewer.places[index]}")
    below = ""
    if panel.scale is not None:
        low, high = panel.scale
        colours = f'<i class="{panel.colours}"></i>'
        below += f'<div class="scale"><span>{escape(low)}</span>{colours}<span>{escape(high)}</span></div>'
    if panel.legend:
        entries = (
            f'<li><i style="background:{escape(colour)}"></i>{escape(name)}</li>'
            for name, colour in panel.legend.items()
        )
        below += f'<ul class="legend">{"".join(entries)}</ul>'
    overlay = ""
    if panel.outlines:
        columns, rows = viewer.size
        groups = "".join(f'<g class="{escape(owner)}"></g>' for owner in panel.outlines)
        overlay = f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" aria-hidden="true">{groups}</svg>'
    return (
        f"<figure><figcaption>{escape(panel.title)}</figcaption>"
        f'<div class="picture" style="aspect-ratio:{viewer.ratio:.4f}">'
        f'<img src="{panel.images[index]}" alt="{alternative}">{overlay}</div>{below}</figure>'
    )
