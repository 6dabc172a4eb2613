"""INI keys that find the files of a source: a proposal is tried, and taken only if it finds these and no others.

Where no pattern does, a CSV file lists ids and files: that always works.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.data.file_search import FLAT, SUBJECT_FOLDERS, TREE, find_files
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.values import format_value

_TRIES_OF_EXCLUSION = 8


@dataclass(frozen=True)
class Lists:
    """CSV files that have to be written beside the INI file: lines of id and path, by the file's path."""

    files: dict[Path, list[tuple[str, str]]]


def place_sources(sources: Sequence[FoundSource], folder: Path, output: Path) -> Lists:
    """Gives every source of image files the keys that find it, and all of them the same ids of subjects.

    Args:
        sources: Sources of files; their subjects get the ids that a run will give them.
        folder: The folder that was looked through.
        output: The INI file to be written; lists of files lie beside it.

    Returns:
        The lists that have to be written; none where patterns find everything.
    """
    proposals = {source: found for source in sources if (found := _proposal(source, folder)) is not None}
    ids: dict[str, str] = {}
    is_one = len(proposals) == len(sources)
    for source, proposal in proposals.items():
        for subject, path in _subjects(source).items():
            is_one = ids.setdefault(subject, proposal.ids[path]) == proposal.ids[path] and is_one
    if is_one and len(set(ids.values())) == len(ids):
        for source, proposal in proposals.items():
            source.keys, source.reason = {**proposal.ini_keys, **source.keys}, proposal.reason
            source.images = {ids[subject]: image for subject, image in source.images.items()}
        return Lists({})
    return _list_files(sources, folder, output)


def _list_files(sources: Sequence[FoundSource], folder: Path, output: Path) -> Lists:
    lists: dict[Path, list[tuple[str, str]]] = {}
    names = _usable_ids({subject for source in sources for subject in source.images}, folder)
    for source in sources:
        path = output.with_name(f"{output.stem}_{source.name.lower()}.csv")
        source.images = {names[subject]: image for subject, image in source.images.items()}
        lists[path] = [(subject, str(image.path)) for subject, image in sorted(source.images.items())]
        source.keys = {"csv_file": format_value(path), **source.keys}
        source.reason = f"{path.name}, written too, lists its files: no pattern of names finds these alone"
    return Lists(lists)


@dataclass(frozen=True)
class _Proposal:
    keys: Mapping[str, Any]
    ids: Mapping[Path, str]
    reason: str

    @property
    def ini_keys(self) -> dict[str, str]:
        texts = {key: format_value(value) for key, value in self.keys.items() if value}
        return {key: text for key, text in texts.items() if (key, text) != ("layout", FLAT)}


_REASONS = {
    FLAT: "the files lie in one folder; ids are their names without these words",
    SUBJECT_FOLDERS: "each subject has a folder of its own, whose name is the id",
    TREE: "the files lie in folders of folders; ids are their names without these words",
}


def _proposal(source: FoundSource, folder: Path) -> _Proposal | None:
    for root, layout in _layouts(source, folder):
        keys: dict[str, Any] = {"path_to_search": (root,), "layout": layout, "filename_contains": source.contains}
        for _ in range(_TRIES_OF_EXCLUSION):
            try:
                found = find_files(**keys)
            except (DataError, ConfigError) as error:
                word = _intruder_word(source, root, keys, str(error))
            else:
                if set(found.values()) == source.paths:
                    return _Proposal(keys, {path: subject for subject, path in found.items()}, _REASONS[layout])
                if source.paths - set(found.values()):
                    break
                word = _excluding_word(source, set(found.values()) - source.paths)
            if not word or word in keys.get("filename_not_contains", ()):
                break
            keys["filename_not_contains"] = (*keys.get("filename_not_contains", ()), word)
    return None


def _layouts(source: FoundSource, folder: Path) -> Iterator[tuple[Path, str]]:
    parents = {path.parent for path in source.paths}
    if len(parents) == 1:
        (parent,) = parents
        yield parent, FLAT
        if parent != folder:
            yield parent.parent, SUBJECT_FOLDERS
        return
    common = Path(os.path.commonpath([str(parent) for parent in parents]))
    yield common, SUBJECT_FOLDERS
    yield common, TREE


def _subjects(source: FoundSource) -> dict[str, Path]:
    return {subject: image.path for subject, image in source.images.items()}


def _intruder_word(source: FoundSource, root: Path, keys: Mapping[str, Any], message: str) -> str:
    """Returns a word of the file that a message about two files of one id names, if it is not the source's."""
    named = Path(message.partition(": ")[0])
    others = [Path(part.rstrip(";,")) for part in message.split() if str(root) in part]
    intruders = {path for path in (named, *others) if path.exists() and path not in source.paths and path != root}
    return _excluding_word(
        source, {path for path in intruders if all(w in path.name for w in keys["filename_contains"])}
    )


def _excluding_word(source: FoundSource, intruders: Iterable[Path]) -> str:
    """Returns the shortest end of an intruder's name, from a separator on, that none of the source's files has."""
    own = [path.name for path in source.paths]
    for intruder in sorted(intruders):
        stem = intruder.name.split(".")[0]
        starts = [index for index, c in enumerate(stem) if c in "_- "][::-1] + [0]
        for start in starts:
            if not any(stem[start:] in name for name in own):
                return stem[start:]
    return ""


def _usable_ids(subjects: Iterable[str], folder: Path) -> dict[str, str]:
    """Returns ids that files may begin with; the folder's name where names of files have none."""
    found: dict[str, str] = {}
    for subject in sorted(subjects):
        text = _plain(subject) or _plain(folder.resolve().name) or "subject"
        name, number = text, 2
        while name in found.values():
            name, number = f"{text}_{number}", number + 1
        found[subject] = name
    return found


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-." else "_" for c in text).strip("._")
