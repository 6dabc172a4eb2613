"""The slices of a subject with a slider: pictures, outlines over them, and the HTML that holds both."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from sfgkeras.analysis.pictures import label_colour
from sfgkeras.pages import elements

OWNERS = {"truth": "true outlines (solid)", "prediction": "predicted outlines (dashed)"}
VECTORS = "vectors"
"""Colours of vectors: x, y and z as red, green and blue."""
PHOTO = "photo"
"""Colours of a photo, which are its own: red, green and blue."""

COLOUR_MAPS = {"inferno": "inferno", "difference": "RdBu_r"}
# Small pictures as PNG: JPEG's blocks would be as large as what they show.
LARGEST_PNG = 64 * 64
JPEG_QUALITY = 82


@dataclass(frozen=True)
class SlicePanel:
    """One of the pictures beside each other in a viewer.

    Attributes:
        title: Written above it.
        images: A data URI per slice.
        scale: Values of the darkest and the brightest colour, with their unit; empty for none.
        colours: `grey`, `inferno`, `difference` (blue below zero, white at zero, red above), `vectors` or `photo`.
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
        image: `(rows, columns)`; what is not a number is dark, or no difference. Of vectors and photos
            `(rows, columns, 3)`.
        limits: Values shown darkest and brightest.
        colours: `grey`, `inferno` or `difference`; `vectors` shows x, y and z as red, green and blue,
            `photo` the colours as they are.
    """
    from matplotlib import colormaps
    from PIL import Image

    low, high = limits
    scaled = (np.asarray(image, np.float32) - low) / ((high - low) or 1.0)
    grey = (
        (
            np.clip(np.nan_to_num(scaled, nan=0.5 if colours == "difference" else 0.0, posinf=1.0, neginf=0.0), 0, 1)
            * 255
        )
        .round()
        .astype(np.uint8)
    )
    is_mapped = colours in COLOUR_MAPS
    pixels = np.asarray(colormaps[COLOUR_MAPS[colours]](grey, bytes=True))[..., :3] if is_mapped else grey
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


def viewer_html(viewer: SliceViewer, number: int) -> Markup:
    """Returns the slices of one subject with a slider through them; `number` makes its ids unique."""
    middle = len(viewer.places) // 2
    shown = {
        "id": f"slice-{number}",
        "title": viewer.title,
        "places": viewer.places,
        "middle": middle,
        "size": viewer.size,
        "ratio": viewer.ratio,
        "owners": {
            owner: text for owner, text in OWNERS.items() if any(owner in panel.outlines for panel in viewer.panels)
        },
        "panels": [
            {
                "title": panel.title,
                "image": panel.images[middle],
                "scale": panel.scale,
                "colours": panel.colours,
                "owners": list(panel.outlines),
                "legend": panel.legend,
            }
            for panel in viewer.panels
        ],
    }
    panels: list[dict[str, Any]] = []
    for panel in viewer.panels:
        # Outlines lie over the images of another panel, which are not repeated.
        same = next((number for number, other in enumerate(viewer.panels) if other.images is panel.images), 0)
        images = list(panel.images) if same == len(panels) else same
        panels.append({"title": panel.title, "images": images, "outlines": dict(panel.outlines)})
    data = {"places": list(viewer.places), "panels": panels}
    return elements.viewer_html(shown, data)
