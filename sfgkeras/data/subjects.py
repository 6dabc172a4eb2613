"""Which file belongs to which subject, and which subject to which phase: NiftyNet's lists, and sources joined by id."""

import csv
import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.data.references import ImageRef
from sfgkeras.errors import ConfigError, DataError, suggestion
from sfgkeras.files import reading_problem, replacing

PHASES = ("training", "validation", "inference")
LONGEST_ID = 200
"""Bytes of a subject's id; a file's name has 255, of which task and ending need some."""


@dataclass(frozen=True)
class Subject:
    """One subject's images.

    Attributes:
        subject_id: Its name in every table.
        images: One for each source.
    """

    subject_id: str
    images: Mapping[str, ImageRef]


def read_file_list(csv_file: str | Path) -> dict[str, Path]:
    """Reads NiftyNet's list of files: lines `subject id,path` without a header.

    A relative path is looked for beside the list first, then in the working folder.

    Raises:
        DataError: If the list is missing, empty, has a line of another form, or an id twice.
    """
    csv_file = Path(csv_file)
    files: dict[str, Path] = {}
    lines: dict[str, int] = {}
    for number, row in _rows(csv_file):
        if len(row) != 2 or not all(row):
            raise DataError(f"{csv_file}:{number}: {','.join(row)!r} is not of the form 'subject_id,path'; correct it")
        subject_id, name = row
        refuse_unusable_id(subject_id, f"{csv_file}:{number}")
        _refuse_second(csv_file, number, subject_id, lines)
        beside = csv_file.parent / Path(name).expanduser()
        files[subject_id] = beside if beside.exists() else Path(name).expanduser()
    return files


def read_table(csv_file: str | Path) -> dict[str, dict[str, str]]:
    """Reads a table of values for each subject.

    The first line names the columns, the first of which is `subject_id`.

    Returns:
        For each subject the other columns by name, as text.

    Raises:
        DataError: If the table is missing, empty, has no such first line, a line of another length, or an id
            or a column twice.
    """
    csv_file = Path(csv_file)
    rows = _rows(csv_file)
    number, columns = rows[0]
    if columns[0].lower() != "subject_id" or len(set(columns)) != len(columns) or not all(columns):
        raise DataError(
            f"{csv_file}:{number}: {','.join(columns)!r} does not name the columns; "
            "start the table with a line of different names, the first of them subject_id"
        )
    if len(rows) == 1:
        raise DataError(f"{csv_file}: names columns but has no subjects; add a line for each subject")
    table: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    for number, row in rows[1:]:
        if len(row) != len(columns) or not row[0]:
            raise DataError(
                f"{csv_file}:{number}: {','.join(row)!r} has {len(row)} fields where the first line names "
                f"{len(columns)}, or no subject id; correct the line"
            )
        refuse_unusable_id(row[0], f"{csv_file}:{number}")
        _refuse_second(csv_file, number, row[0], lines)
        table[row[0]] = dict(zip(columns[1:], row[1:], strict=True))
    return table


def refuse_unusable_id(subject_id: str, where: str) -> None:
    """Refuses an id that cannot be the beginning of a file's name: results are named by it.

    Raises:
        DataError: Begins with `where` and says what is wrong.
    """
    controls = sorted({character for character in subject_id if unicodedata.category(character)[0] == "C"})
    length = len(os.fsencode(subject_id)) if not controls else 0
    if any(mark in subject_id for mark in "/\\"):
        problem = "leads into another folder; write it without / and \\"
    elif controls:
        problem = f"has the control character {controls[0]!r}; remove it"
    elif not subject_id.strip() or set(subject_id) == {"."} or subject_id.startswith("."):
        problem = "is no name for a file, or that of a hidden one; write letters and digits"
    elif length > LONGEST_ID:
        problem = f"has {length} bytes, which leaves no room for the names of results; shorten it to {LONGEST_ID}"
    else:
        return
    raise DataError(f"{where}: the subject id {subject_id!r} {problem}")


def match_subjects(sources: Mapping[str, Mapping[str, ImageRef]]) -> list[Subject]:
    """Joins the sources by subject id and returns those subjects that have an image in every source.

    Args:
        sources: For each source the image of each id.

    Raises:
        DataError: If no subject has all sources; shows an id of each. See `unmatched_ids` for those left out.
    """
    if not sources:
        return []
    common = sorted(set.intersection(*(set(images) for images in sources.values())))
    if not common:
        raise DataError(
            f"no subject id occurs in every source, first ids are {_first_ids(sources)}; "
            "make the ids equal by filename_contains or filename_removefromid, or list them in a csv_file"
        )
    return [Subject(name, {source: images[name] for source, images in sources.items()}) for name in common]


def unmatched_ids(sources: Mapping[str, Mapping[str, ImageRef]]) -> dict[str, list[str]]:
    """Returns, for each source, the ids that another source has and it has not."""
    everyone = set().union(*(set(images) for images in sources.values()))
    return {source: sorted(everyone - set(images)) for source, images in sources.items()}


def read_split(path: str | Path) -> dict[str, list[str]]:
    """Reads which subject belongs to which phase: lines `subject_id,phase` without a header, as NiftyNet.

    Returns:
        The ids of each of the three phases, in the order of the file; the case of a phase's name is ignored.

    Raises:
        DataError: If the file is missing, empty, or has an unknown phase or an id twice; names the line.
    """
    path = Path(path)
    split: dict[str, list[str]] = {phase: [] for phase in PHASES}
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        if len(row) != 2 or not all(row):
            raise DataError(f"{path}:{number}: {','.join(row)!r} is not of the form 'subject_id,phase'; correct it")
        subject_id, phase = row[0], row[1].lower()
        if phase not in split:
            hint = suggestion(phase, list(PHASES)) or f"; phases are {', '.join(PHASES)}"
            raise DataError(f"{path}:{number}: unknown phase {row[1]!r} of subject {subject_id!r}{hint}")
        refuse_unusable_id(subject_id, f"{path}:{number}")
        _refuse_second(path, number, subject_id, lines)
        split[phase].append(subject_id)
    return split


def write_split(path: str | Path, split: Mapping[str, Sequence[str]]) -> None:
    """Writes a split in NiftyNet's form; the file appears whole or not at all.

    Raises:
        DataError: If a phase is unknown, an id occurs twice, or the file cannot be written.
    """
    path = Path(path)
    unknown = sorted(set(split) - set(PHASES))
    if unknown:
        raise DataError(f"{path}: unknown phase {unknown[0]!r} is not written; phases are {', '.join(PHASES)}")
    rows = [(subject_id, phase) for phase in PHASES for subject_id in split.get(phase, ())]
    if not rows:
        raise DataError(f"{path}: a split without subjects is not written; check the input sections")
    _refuse_repeated([subject_id for subject_id, _ in rows], f"{path}: is not written, ")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())


def make_split(
    ids: Sequence[str], validation_fraction: float, inference_fraction: float, seed: int
) -> dict[str, list[str]]:
    """Divides subjects among the phases at random, the same way for the same ids (in any order) and seed.

    As in NiftyNet a fraction is rounded up, so that a phase whose fraction is above 0 gets a subject. At
    least one subject is left for training: the larger of the other phases gives up what is missing.

    Args:
        ids: Subject ids.
        validation_fraction: Part for validation, 0 to 1.
        inference_fraction: Part for inference, 0 to 1; both together at most 1.
        seed: Seed of the shuffle.

    Raises:
        DataError: If there are no ids, or one occurs twice.
        ConfigError: If a fraction is out of range.
    """
    fractions = (validation_fraction, inference_fraction)
    if not all(0 <= fraction <= 1 for fraction in fractions) or sum(fractions) > 1 + 1e-9:
        raise ConfigError(
            f"exclude_fraction_for_validation = {validation_fraction} and exclude_fraction_for_inference = "
            f"{inference_fraction} must be 0 to 1, and at most 1 together; correct them in [TRAINING]"
        )
    if not ids:
        raise DataError("there are no subjects to divide into phases; check the input sections")
    _refuse_repeated(ids, "")
    # Rounding to 9 digits keeps 0.07 * 100 = 7.000000000000001 from counting as 8.
    validation, inference = (int(np.ceil(round(fraction * len(ids), 9))) for fraction in fractions)
    while validation + inference > len(ids) - 1:
        if validation > inference:
            validation -= 1
        else:
            inference -= 1
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(sorted(ids)).tolist()
    return {
        "training": sorted(shuffled[validation + inference :]),
        "validation": sorted(shuffled[:validation]),
        "inference": sorted(shuffled[validation : validation + inference]),
    }


def _first_ids(sources: Mapping[str, Mapping[str, ImageRef]]) -> str:
    first = {name: next(iter(images.items()), None) for name, images in sources.items()}
    return "; ".join(f"[{name}] {item[0]!r} of {item[1]}" if item else f"[{name}] none" for name, item in first.items())


def _rows(csv_file: Path) -> list[tuple[int, list[str]]]:
    """Returns the lines that are not blank, as stripped fields with their number."""
    try:
        with open(csv_file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except OSError as error:
        raise DataError(reading_problem(csv_file, error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{csv_file}: is no text table ({error}); save it as CSV in UTF-8") from error
    rows = [(number, row) for number, row in rows if any(row)]
    for number, row in rows:
        if "\0" in "".join(row):
            raise DataError(f"{csv_file}:{number}: holds a zero byte; save the table as CSV in UTF-8")
    if not rows:
        raise DataError(f"{csv_file}: is empty; add a line for each subject, or remove it")
    return rows


def _refuse_second(path: Path, number: int, subject_id: str, lines: dict[str, int]) -> None:
    if subject_id in lines:
        raise DataError(f"{path}:{number}: subject {subject_id!r} is already in line {lines[subject_id]}; remove one")
    lines[subject_id] = number


def _refuse_repeated(ids: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for subject_id in ids:
        if subject_id in seen:
            raise DataError(f"{where}subject {subject_id!r} occurs twice; remove one of them")
        seen.add(subject_id)
