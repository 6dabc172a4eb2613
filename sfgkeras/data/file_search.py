"""Finds the images of one source in folders, and the subject id of each.

NiftyNet's rule: the id of a file is its name without the ending and without the `filename_contains` words, or, where
`filename_removefromid` is set, without what that regular expression matches. Two more layouts are known: a folder for
each subject, whose name is the id (`P01/mr.nii.gz`), and a tree of folders with NiftyNet's rule for the names in it
(`sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`).
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfgkeras.data.nifti import image_suffix, is_image
from sfgkeras.data.subjects import refuse_unusable_id
from sfgkeras.errors import ConfigError, DataError, lookup
from sfgkeras.files import reading_problem

SUBJECT_FOLDERS, TREE, FLAT = "subject_folders", "tree", "flat"
_BIDS_SUBJECT = "sub-"


@dataclass(frozen=True)
class Candidate:
    """An image that may be a source's.

    Attributes:
        path: The file, or the folder of a DICOM series.
        folder: What the message about it starts from: the folder that was searched.
        named: What gives the id: a name without its ending.
    """

    path: Path
    folder: Path
    named: str


def find_files(
    path_to_search: Sequence[str | Path],
    filename_contains: Sequence[str] = (),
    filename_not_contains: Sequence[str] = (),
    filename_removefromid: str | None = None,
    layout: str = FLAT,
) -> dict[str, Path]:
    """Finds the images of one source and the subject id of each.

    Args:
        path_to_search: Folders to look into. A folder with the files of a DICOM series counts as an image.
        filename_contains: Words that must all be in the name of the file; letter case matters.
        filename_not_contains: Words of which none may be in the name.
        filename_removefromid: Regular expression; what it matches in the name is removed to give the id. None
            removes the words of `filename_contains`, but from the names of files only.
        layout: A name in `LAYOUTS`: `flat` does not look into subfolders; with `subject_folders` each subfolder is a
            subject's, and its images lie in it at any depth; `tree` looks at any depth, and ids come from file names.

    Returns:
        The file of each id, sorted by id.

    Raises:
        DataError: If a folder is missing or unreadable, no file matches, two files have one id, or nothing of
            a name remains as its id; says which layout would fit where another one does.
        ConfigError: If the regular expression is not valid, or there is no such layout.
    """
    look = lookup(LAYOUTS, layout, "layout")
    pattern = id_pattern(() if layout == SUBJECT_FOLDERS else filename_contains, filename_removefromid)
    candidates = [found for folder in path_to_search for found in look(Path(folder).expanduser())]
    found: dict[str, Path] = {}
    for candidate in candidates:
        path = candidate.path
        if not fits_words(path, filename_contains, filename_not_contains):
            continue
        refuse_undecoded(path)
        subject_id = pattern.sub("", candidate.named)
        if not subject_id:
            raise DataError(_nothing_remains(path, pattern, layout))
        refuse_unusable_id(subject_id, str(path))
        if subject_id in found and found[subject_id] != path:
            raise DataError(_second_file(path, found[subject_id], subject_id, layout))
        found[subject_id] = path
    if not found:
        words = (filename_contains, filename_not_contains)
        raise DataError(
            _nothing_found([Path(each).expanduser() for each in path_to_search], *words, candidates, layout)
        )
    return dict(sorted(found.items()))


def refuse_undecoded(path: Path) -> None:
    """Refuses a file whose name is not UTF-8: it could be read, and stand in no table, page or setting.

    Raises:
        DataError: Names it, with the odd bytes as escapes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"{shown}: its name is not UTF-8; rename it, e.g. with convmv -f latin1 -t utf8") from None


def fits_words(path: Path, contained: Sequence[str], not_contained: Sequence[str] = ()) -> bool:
    """Says whether the name of a file has all of some words and none of others; letter case matters."""
    return all(word in path.name for word in contained) and not any(word in path.name for word in not_contained)


def id_pattern(words: Sequence[str], remove_from_id: str | None) -> re.Pattern[str]:
    """Returns what is removed from a name to give the id; an empty pattern removes nothing.

    Raises:
        ConfigError: If the regular expression is not valid.
    """
    if remove_from_id:
        try:
            return re.compile(remove_from_id)
        except re.error as error:
            raise ConfigError(
                f"filename_removefromid = {remove_from_id!r} is no regular expression ({error}); correct it"
            ) from None
    # Longer words first: with T1 and T1c, the whole of 'T1c' goes.
    kept = sorted(filter(None, words), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, kept)))


def name_of(path: Path) -> str:
    """Returns the name of an image without its ending."""
    return path.name if path.is_dir() else path.name[: len(path.name) - len(image_suffix(path))]


def images_in(folder: Path) -> list[Path]:
    """Returns the images that lie in a folder itself, DICOM series in folders of their own among them, by name.

    Raises:
        DataError: If it is no folder, or cannot be read.
    """
    return [entry for entry in _entries(folder) if is_image(entry)]


def images_below(folder: Path) -> Iterator[Path]:
    """Yields the images in a folder and all folders below it; hidden folders are passed over.

    Raises:
        DataError: If a folder cannot be read.
    """
    seen: set[Path] = set()  # links may lead in circles
    waiting = [folder]
    while waiting:
        here = waiting.pop(0)
        if here.resolve() in seen:
            continue
        seen.add(here.resolve())
        for entry in _entries(here):
            if is_image(entry):
                yield entry
            elif entry.is_dir() and not entry.name.startswith("."):
                waiting.append(entry)


def subject_folders_in(folder: Path) -> list[Path]:
    """Returns the subfolders that may be subjects': in a BIDS folder those named `sub-...`, else all, by name.

    Raises:
        DataError: If it is no folder, or cannot be read.
    """
    folders = [entry for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    return [entry for entry in folders if entry.name.startswith(_BIDS_SUBJECT)] or folders


def _flat(folder: Path) -> Iterator[Candidate]:
    return (Candidate(path, folder, name_of(path)) for path in images_in(folder))


def _subject_folders(folder: Path) -> Iterator[Candidate]:
    for subject in subject_folders_in(folder):
        for path in [subject] if is_image(subject) else images_below(subject):
            yield Candidate(path, folder, subject.name)


def _tree(folder: Path) -> Iterator[Candidate]:
    for path in images_in(folder):
        yield Candidate(path, folder, name_of(path))
    for subject in subject_folders_in(folder):
        for path in () if is_image(subject) else images_below(subject):
            yield Candidate(path, folder, name_of(path))


LAYOUTS: Mapping[str, Callable[[Path], Iterator[Candidate]]] = {
    FLAT: _flat,
    SUBJECT_FOLDERS: _subject_folders,
    TREE: _tree,
}


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except NotADirectoryError:
        remedy = f"write csv_file = {folder}" if folder.suffix.lower() == ".csv" else "a csv_file lists files"
        raise DataError(f"{folder}: is a file; path_to_search names folders, {remedy}") from None
    except OSError as error:
        raise DataError(reading_problem(folder, error)) from error


def _nothing_remains(path: Path, pattern: re.Pattern[str], layout: str) -> str:
    remedy = "set filename_removefromid"
    if layout == FLAT:
        remedy += (
            f", or, if each subject has a folder of its own, layout = {SUBJECT_FOLDERS} with path_to_search = "
            f"{path.parent.parent}"
        )
    elif layout == TREE:
        remedy += f", or layout = {SUBJECT_FOLDERS} if each folder is a subject's"
    return (
        f"{path}: nothing remains of its name as the subject id without {pattern.pattern!r}; {remedy}, or list ids "
        "and files in a csv_file"
    )


def _second_file(path: Path, other: Path, subject_id: str, layout: str) -> str:
    remedy = "tell them apart by filename_contains or filename_not_contains, or remove one"
    if layout != SUBJECT_FOLDERS and path.name == other.name:
        remedy = (
            f"if each subject has a folder of its own, write layout = {SUBJECT_FOLDERS}, and the folder's name is the "
            "id; else list ids and files in a csv_file"
        )
    elif layout == SUBJECT_FOLDERS:
        remedy = (
            "tell them apart by filename_contains or filename_not_contains, list ids and files in a csv_file, or, if "
            f"the names tell subject and session, write layout = {TREE}"
        )
    return f"{path}: has the subject id {subject_id!r}, as has {other}; {remedy}"


def _nothing_found(
    folders: Sequence[Path],
    words: Sequence[str],
    excluded: Sequence[str],
    candidates: Sequence[Candidate],
    layout: str,
) -> str:
    where = ", ".join(map(str, folders)) or "no folder"
    other = _other_layout(folders, words, excluded, layout)
    if not candidates:
        return f"{where}: {other}" if other else f"{where}: holds no image; check path_to_search"
    wanted = " and ".join(map(repr, words)) or "any name"
    without = f" and without {' or '.join(map(repr, excluded))}" if excluded else ""
    example = candidates[0].path.relative_to(candidates[0].folder)
    return (
        f"{where}: none of its {len(candidates)} images (e.g. {example}) has a name with {wanted}{without}; "
        f"{other or 'check filename_contains'}"
    )


def _other_layout(folders: Sequence[Path], words: Sequence[str], excluded: Sequence[str], layout: str) -> str:
    """Says which layout would find something where this one does not; empty if none would."""
    for folder in folders:
        if layout == FLAT:
            below = (path for path in images_below(folder) if fits_words(path, words, excluded))
            path = next((path for path in below if path.parent != folder), None)
            if path is not None:
                return (
                    f"its subfolders do hold such images (e.g. {path.relative_to(folder)}); if each subfolder is a "
                    f"subject's, write layout = {SUBJECT_FOLDERS}, and its name is the id; if names of files are the "
                    f"ids, layout = {TREE}"
                )
        elif any(fits_words(path, words, excluded) for path in images_in(folder)):
            return f"its images lie in the folder itself, not in one for each subject; write layout = {FLAT}"
    return ""
