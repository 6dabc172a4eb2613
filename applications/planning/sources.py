"""Groups what was found into sources: one kind of image, or one table, with a reference for every subject."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from sfgkeras.applications.planning.names import Division, divide, runs
from sfgkeras.applications.planning.survey import Survey
from sfgkeras.config.known import SECTIONS, is_task
from sfgkeras.data.file_search import name_of
from sfgkeras.data.nifti import is_photo
from sfgkeras.data.references import ImageRef


@dataclass(eq=False)
class FoundSource:
    """One kind of image, or of values, of all subjects that have it.

    Attributes:
        name: The section that it becomes, e.g. `MR`.
        words: The words in its files' names that tell it from other kinds; empty for none.
        images: Its image, or row, by subject; ids are those of the run once `places` has found them.
        contains: The same words as `filename_contains` has them.
        keys: INI keys that find these files and no others, with the reason of the last one.
        reason: Why these keys.
        role: What names say it is, where a description of the data set does: `image` or `labels`.
        class_names: Names of its labels in order, where such a description has them.
    """

    name: str
    words: tuple[str, ...]
    images: dict[str, ImageRef]
    contains: tuple[str, ...] = ()
    keys: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    role: str = ""
    class_names: tuple[str, ...] = ()

    @property
    def paths(self) -> set[Path]:
        """Its files."""
        return {image.path for image in self.images.values()}

    @property
    def is_photo(self) -> bool:
        """Whether its images are photos."""
        return next(iter(self.images.values())).is_photo


def group_images(found: Survey) -> tuple[list[FoundSource], list[str]]:
    """Divides images into sources by their names.

    Returns:
        The sources, those of most subjects first; and which files are left out because another one has their place.
    """
    if not found.images:
        return [], []
    relative = [image.file.relative_to(found.folder).parent / name_of(image.file) for image in found.images]
    division = divide(relative, {subject for table in found.tables.values() for subject in table})
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, kind in enumerate(division.kinds):
        # Photos and volumes are never one kind, whatever they are called.
        groups.setdefault((*(word.text for word in kind), *_type(found, index)), []).append(index)
    sources, left_out = [], []
    taken: set[str] = set()
    for words, indices in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        source, doubles = _source(found, division, words[:-1], indices)
        source.name = _section_name(source, taken)
        taken.add(source.name)
        sources.append(source)
        left_out += doubles
    return sources, left_out


def _type(found: Survey, index: int) -> tuple[str]:
    return ("photo" if is_photo(found.images[index].file) else "volume",)


def _source(
    found: Survey, division: Division, words: Sequence[str], indices: Sequence[int]
) -> tuple[FoundSource, list[str]]:
    images: dict[str, ImageRef] = {}
    doubles = []
    for index in indices:
        subject = division.subjects[index]
        if subject in images:
            doubles.append(
                f"{found.images[index].file}: would be a second image of one kind and subject, as {images[subject]} is"
            )
        else:
            images[subject] = found.images[index]
    usual = Counter(runs(division.names[index], division.kinds[index]) for index in indices).most_common(1)[0][0]
    return FoundSource("", tuple(dict.fromkeys(words)), images, usual), doubles


def _section_name(source: FoundSource, taken: set[str]) -> str:
    """Returns a header: the words of the kind in capitals, `IMAGE` where there are none."""
    text = "_".join(source.words[-3:])
    text = "".join(c if c.isalnum() else "_" for c in text).strip("_").upper()
    text = f"CHANNEL_{text}" if text.isdigit() else text
    return _free(text or ("PHOTO" if source.is_photo else "IMAGE"), taken)


def name_apart(sources: Sequence[FoundSource]) -> None:
    """Gives sources whose names are taken, by one before them or by a section of another kind, names of their own."""
    taken: set[str] = set()
    for source in sources:
        source.name = _free(source.name, taken)
        taken.add(source.name)


def _free(text: str, taken: Set[str]) -> str:
    """Returns a header that no other source has, and no section of another kind."""
    if text in SECTIONS or is_task(text) or text in ("COMPARE", "DEFAULT") or not text[0].isalpha():
        text = f"IMAGES_{text}"
    name, number = text, 2
    while name in taken:
        name, number = f"{text}_{number}", number + 1
    return name
