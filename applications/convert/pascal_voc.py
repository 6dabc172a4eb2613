"""Pascal VOC files, `.xml`: the objects in a picture, each with a name and a box, of which a data set takes one."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.errors import DataError, counted

LARGEST, ALL = "largest", "all"
"""What `--box-of` may say besides the name of an object."""
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class NamedBox:
    """A box and what is in it.

    Attributes:
        name: What the file calls it.
        edges: `x_min, y_min, x_max, y_max` in pixels from 0, `(4,)` float32.
    """

    name: str
    edges: np.ndarray

    @property
    def area(self) -> float:
        """In pixels."""
        return float(np.prod(self.edges[2:] - self.edges[:2]))


def read_boxes(paths: Sequence[Path], box_of: str | None = None) -> dict[str, NamedBox]:
    """Reads the one box of each file.

    Args:
        paths: Files, each called as its picture.
        box_of: Whose box is taken: `largest`, by area, the first of equal ones; `all`, the box around all objects, with
            the name of the largest; or the name of an object, of several with that name the largest. None takes the
            only object there is.

    Returns:
        The box of each id; a picture without an object of the name asked for has none.

    Raises:
        DataError: If a file cannot be read, an object has no box, or there are several objects and `box_of` is None.
    """
    objects = {path: _read_objects(path) for path in paths}
    crowded = [path for path, found in objects.items() if len(found) > 1]
    if crowded and box_of is None:
        names = [each.name for each in objects[crowded[0]]]
        more = f" (so have {counted(len(crowded) - 1, 'other file')})" if len(crowded) > 1 else ""
        raise DataError(
            f"{crowded[0]}: has {len(names)} objects, {', '.join(names)}{more}, and a picture has one box; say whose: "
            f"--box-of {LARGEST}, --box-of {ALL} for the box around all of them, or a name, --box-of {names[0]}"
        )
    chosen = {path.stem: _choose(found, box_of) for path, found in objects.items()}
    found = {subject_id: box for subject_id, box in chosen.items() if box is not None}
    if objects and not found:
        known = sorted({each.name for each in sum(objects.values(), [])})
        raise DataError(
            f"--box-of {box_of}: no file in {paths[0].parent} has an object of that name; there are {', '.join(known)}"
        )
    return found


def _choose(objects: Sequence[NamedBox], box_of: str | None) -> NamedBox | None:
    named = list(objects) if box_of in (None, LARGEST, ALL) else [each for each in objects if each.name == box_of]
    largest = max(named, key=lambda each: each.area, default=None)
    if box_of != ALL or largest is None:
        return largest
    edges = np.stack([each.edges for each in objects])
    return NamedBox(largest.name, np.concatenate([edges[:, :2].min(0), edges[:, 2:].max(0)]))


def _read_objects(path: Path) -> list[NamedBox]:
    """Reads all objects of a file.

    Its corners are pixels counted from 1, both inside the box; here they become its edges, from 0.
    """
    try:
        root = ElementTree.parse(path).getroot()
        found = root.findall("object")
        corners = [[float(each.findtext(f"bndbox/{edge}", "")) for edge in _EDGES] for each in found]
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise DataError(f"{path}: is no Pascal VOC annotation ({error}); correct or remove it") from None
    if root.tag != "annotation" or not found:
        raise DataError(f"{path}: is an XML file without <annotation> or <object>; remove it")
    objects = []
    for each, corner in zip(found, corners, strict=True):
        edges = np.asarray(corner, np.float32) - np.array([1, 1, 0, 0], np.float32)
        if not (np.isfinite(edges).all() and (edges[:2] >= 0).all() and (edges[:2] < edges[2:]).all()):
            raise DataError(f"{path}: its box {corner} has no extent, or begins before pixel 1; correct it")
        objects.append(NamedBox(each.findtext("name", "").strip(), edges))
    return objects
