"""The volumes of subjects for a viewer of three planes in a browser: cut to the body, thinned, 256 steps, as NIfTI."""

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from sfgkeras.analysis.pictures import label_colour
from sfgkeras.analysis.slice_viewer import COLOUR_MAPS
from sfgkeras.analysis.windows import Window, number_text, settings_of
from sfgkeras.pages import elements

# In the window of the input image, what is darker than this share of it counts as background.
BACKGROUND = 0.03
RIM = 2
STEPS = 254
MAP_POINTS = 17


@dataclass(frozen=True)
class PlaneVolume:
    """One volume of a subject.

    Attributes:
        title: What it is called.
        array: `(x, y, z)`.
        window: Name of its display window; empty for labels.
        colours: `grey`, `inferno` or `difference`.
    """

    title: str
    array: np.ndarray
    window: str = ""
    colours: str = "grey"

    @property
    def is_labels(self) -> bool:
        """Whether it holds labels, of which outlines are shown."""
        return not self.window


@dataclass(frozen=True)
class PackedSubject:
    """A subject's volumes as plain values for the page's script.

    Attributes:
        name: Its heading.
        volumes: Volumes, each with `title`, `window`, `colours` and `data`, a compressed NIfTI file as base64.
        labels: Label maps, each with `title`, `colours` and `data`.
        factors: How many voxels were merged along each axis.
    """

    name: str
    volumes: Sequence[Mapping[str, Any]]
    labels: Sequence[Mapping[str, Any]]
    factors: tuple[int, int, int]


def pack_subject(
    name: str, volumes: Sequence[PlaneVolume], affine: np.ndarray, windows: Mapping[str, Window], most_voxels: int
) -> PackedSubject:
    """Packs the volumes of a subject, the first of which says where its body is.

    Args:
        name: Its heading.
        volumes: All on one grid.
        affine: Voxel index to RAS mm.
        windows: Display windows by name.
        most_voxels: Volumes of more voxels are thinned by averages over blocks, labels by leaving out.
    """
    box = body_box(volumes[0].array, windows[volumes[0].window], [v.array for v in volumes if v.is_labels])
    cut = np.eye(4)
    cut[:3, 3] = [part.start for part in box]
    affine = affine @ cut
    factors = block_factors(
        tuple(part.stop - part.start for part in box), np.linalg.norm(affine[:3, :3], axis=0), most_voxels
    )
    grown = np.diag([*map(float, factors), 1.0])
    # The middle of a block of voxels.
    grown[:3, 3] = (np.asarray(factors) - 1) / 2
    images, labels = [], []
    for volume in volumes:
        if volume.is_labels:
            array = block_middles(volume.array[box], factors)
            data = _nifti(array.astype(np.uint8), affine @ grown)
            labels.append({"title": volume.title, "data": data, "colours": _label_colours(int(array.max(initial=0)))})
        else:
            low, high = windows[volume.window].reach
            step = (high - low) / STEPS or 1.0
            codes = quantised(block_means(volume.array[box], factors), low, step)
            data = _nifti(codes, affine @ grown, (step, low))
            entry = {"title": volume.title, "window": volume.window, "colours": volume.colours}
            images.append(entry | {"data": data})
    return PackedSubject(name, images, labels, factors)


def body_box(image: np.ndarray, window: Window, labels: Sequence[np.ndarray] = ()) -> tuple[slice, slice, slice]:
    """Returns the box around what is brighter than background or has a label, with a rim; all where nothing is."""
    low, high = window.limits
    inside = np.nan_to_num(np.asarray(image, np.float32), nan=low) > low + BACKGROUND * (high - low)
    for label_map in labels:
        inside |= label_map > 0
    parts = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (found[0], found[-1]) if found.size else (0, inside.shape[axis] - 1)
        parts.append(slice(max(0, int(first) - RIM), min(inside.shape[axis], int(last) + 1 + RIM)))
    return parts[0], parts[1], parts[2]


def block_factors(shape: Sequence[int], spacing: Sequence[float], most_voxels: int) -> tuple[int, int, int]:
    """Returns how many voxels are merged along each axis: always the finest one, until few enough are left."""
    factors = [1, 1, 1]
    while np.prod([-(-size // factor) for size, factor in zip(shape, factors, strict=True)]) > most_voxels:
        able = [axis for axis in range(3) if factors[axis] < shape[axis]]
        finest = min(able, key=lambda axis: spacing[axis] * factors[axis])
        factors[finest] += 1
    return factors[0], factors[1], factors[2]


def block_means(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Averages over blocks; the last block of an axis may be smaller."""
    array = np.nan_to_num(np.asarray(array, np.float32))
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            sizes = np.diff([*starts, array.shape[axis]]).astype(np.float32)
            shape = [-1 if other == axis else 1 for other in range(3)]
            array = np.add.reduceat(array, starts, axis=axis) / sizes.reshape(shape)
    return array


def block_middles(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Takes the voxel in the middle of each block, of labels; the last block of an axis may be smaller."""
    for axis, factor in enumerate(factors):
        starts = np.arange(0, array.shape[axis], factor)
        array = np.take(array, np.minimum(starts + factor // 2, array.shape[axis] - 1), axis=axis)
    return array


def quantised(array: np.ndarray, low: float, step: float) -> np.ndarray:
    """Returns the nearest of 255 steps from `low` on; with a window around zero, zero is one of them."""
    return np.clip(np.rint((array - low) / step), 0, STEPS).astype(np.uint8)


def _nifti(array: np.ndarray, affine: np.ndarray, scaling: tuple[float, float] | None = None) -> str:
    """Returns a compressed NIfTI file as base64; without a scaling it holds labels."""
    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    # niivue draws outlines of what says that it holds labels.
    image.header.set_intent("none" if scaling else "label")
    content = bytearray(image.to_bytes())
    # nibabel writes no scaling for integers: the header's fields `scl_slope` and `scl_inter` lie at bytes 112 to 119.
    content[112:120] = np.array(scaling or (1.0, 0.0), image.header.endianness + "f4").tobytes()
    return base64.b64encode(gzip.compress(bytes(content), 6, mtime=0)).decode()


def _label_colours(highest: int) -> dict[str, list[int]]:
    """Returns the colours of labels 0 to `highest`, as niivue wants them; 0 cannot be seen."""
    colours = [(0, 0, 0), *(bytes.fromhex(label_colour(value)[1:]) for value in range(1, highest + 1))]
    red, green, blue = (list(channel) for channel in zip(*colours, strict=True))
    return {"R": red, "G": green, "B": blue, "A": [0] + [255] * highest, "I": list(range(highest + 1))}


def _colour_map(name: str) -> dict[str, list[int]]:
    """Returns a colour map of matplotlib's, as niivue wants it."""
    from matplotlib import colormaps

    places = np.linspace(0, 255, MAP_POINTS).round().astype(int)
    red, green, blue, _ = np.asarray(colormaps[name](places, bytes=True)).T.tolist()
    return {"R": red, "G": green, "B": blue, "A": [255] * MAP_POINTS, "I": places.tolist()}


def planes_html(subjects: Sequence[PackedSubject], windows: Mapping[str, Window], legend: Mapping[str, str]) -> Markup:
    """Returns the viewer: two pictures beside each other, whose cross and zoom go together.

    Args:
        subjects: What to show.
        windows: Display windows by name.
        legend: Colour by label name, of the outlines.
    """
    merged = sorted({subject.factors for subject in subjects} - {(1, 1, 1)})
    note = "Volumes are cut to the body and stored in steps of " + ", ".join(
        f"{number_text((window.reach[1] - window.reach[0]) / STEPS)}{f' {window.unit}' if window.unit else ''} ({name})"
        for name, window in windows.items()
    )
    if merged:
        note += f"; up to {' x '.join(map(str, merged[-1]))} voxels were averaged to one"
    settings = {"subjects": [subject.name for subject in subjects], "legend": legend, "note": f"{note}."}
    maps = {name: _colour_map(source) for name, source in COLOUR_MAPS.items()}
    common = {"windows": settings_of(windows), "maps": maps}
    packed = [
        {"volumes": list(subject.volumes), "labels": list(subject.labels), **(common if number == 0 else {})}
        for number, subject in enumerate(subjects)
    ]
    return elements.planes_html(settings, packed)
