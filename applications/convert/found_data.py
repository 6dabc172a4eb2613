"""What a folder of images holds: data sets of images and label maps by id, boxes, classes and tables of values.

A data set is a folder of images, named as it is called (`images`, `masks`), at most two folders deep; one with images
of several kinds for each subject (`p1_mr.nii.gz`, `p1_ct.nii.gz`) has a data set for each word behind the last `_`.
Boxes and classes come from Pascal VOC files (`.xml`), other values from the table `subjects.csv`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sfgkeras.applications.convert.pascal_voc import read_boxes
from sfgkeras.data.file_search import find_files, images_in, name_of
from sfgkeras.data.references import ImageRef, references
from sfgkeras.data.subjects import read_table
from sfgkeras.errors import DataError

TABLE = "subjects.csv"
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
VOLUME_BOX_COLUMNS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
IMAGES = "images"
MASK_NAMES = frozenset({"mask", "masks", "label", "labels", "trimap", "trimaps", "seg", "segmentation", "organs"})
"""Names of data sets that hold labels; also those that end in one of these words."""
_DEPTH = 2
_ALIASES = {"trimaps": "masks", "image": IMAGES, "mask": "masks"}


@dataclass
class FoundData:
    """What there is to convert.

    Attributes:
        images: By data set and id; the first one is what the others belong to.
        boxes: `x_min, y_min, x_max, y_max` by id, edges in pixels.
        classes: The name of what is in the box, by id.
        values: Columns of the table, by id.
    """

    images: dict[str, Mapping[str, ImageRef]] = field(default_factory=dict)
    boxes: dict[str, np.ndarray] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def subjects(self) -> tuple[list[str], dict[str, int]]:
        """Returns the ids that everything has, and of each thing how many of the others' ids it lacks."""
        parts: dict[str, set[str]] = {name: set(found) for name, found in self.images.items()}
        parts |= {name: set(found) for name, found in (("boxes", self.boxes), (TABLE, self.values)) if found}
        everyone = set().union(*parts.values())
        lacking = {name: len(everyone - ids) for name, ids in parts.items()}
        return sorted(set.intersection(*parts.values())), lacking


def is_labels(name: str) -> bool:
    """Says whether a data set holds labels, by its name."""
    return name.lower().rpartition("_")[2] in MASK_NAMES


def find_data(folder: Path, box_of: str | None = None) -> FoundData:
    """Finds all that a folder holds.

    Args:
        folder: The folder.
        box_of: Whose box is taken where a Pascal VOC file has several objects; see `read_boxes`.

    Raises:
        DataError: If there is no image in it, a file cannot be read, or several objects leave open whose box is meant.
    """
    found = FoundData()
    for place in _folders(folder, _DEPTH):
        for name, images in _data_sets(place, folder).items():
            if name in found.images:
                other = next(iter(found.images[name].values())).path.parent
                raise DataError(f"{place}: is a second data set {name!r}, as {other} is; rename one of the folders")
            found.images[name] = images
        boxes = read_boxes(sorted(place.glob("*.xml")), box_of)
        found.boxes |= {subject_id: box.edges for subject_id, box in boxes.items()}
        found.classes |= {subject_id: box.name for subject_id, box in boxes.items()}
    if box_of is not None and not found.boxes:
        raise DataError(f"{folder}: holds no Pascal VOC file (.xml) whose box --box-of could choose; leave it out")
    if not found.images:
        raise DataError(f"{folder}: holds no image, nor do its folders; name a folder of photos or NIfTI files")
    if (folder / TABLE).is_file():
        found.values = read_table(folder / TABLE)
    first = next((name for name in found.images if name == IMAGES), next(iter(found.images)))
    found.images = {first: found.images[first], **found.images}
    return found


def _folders(folder: Path, depth: int) -> Iterable[Path]:
    yield folder
    if depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _folders(inner, depth - 1)


def _data_sets(place: Path, top: Path) -> dict[str, Mapping[str, ImageRef]]:
    """Returns the data sets of one folder: its images, or those of each word behind the last `_` of their names."""
    images = [path for path in images_in(place) if path.is_file()]
    if not images:
        return {}
    stems = [name_of(path).rpartition("_") for path in images]
    words = sorted({word for start, _, word in stems if start})
    of_word = {word: {start for start, _, found in stems if found == word} for word in words}
    are_kinds = len(words) > 1 and all(start for start, _, _ in stems) and len({*map(frozenset, of_word.values())}) == 1
    # `img_1`, `img_2`, ...: pictures that are numbered, not the kinds of one subject.
    are_kinds = are_kinds and (len(stems) > len(words) or not all(word.isdecimal() for word in words))
    if are_kinds:
        return {word: references(find_files([place], [f"_{word}"])) for word in words}
    name = IMAGES if place == top else place.name
    return {_ALIASES.get(name.lower(), name): references(find_files([place]))}
