"""Divides subjects into folds, each of which is held out once; the file that says who is in which."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sfgkeras.errors import DataError, counted
from sfgkeras.files import replacing

COLUMNS = ("subject_id", "fold")


def make_folds(
    ids: Sequence[str],
    count: int,
    seed: int,
    groups: Mapping[str, str] | None = None,
    strata: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Divides subjects into folds at random, the same way for the same ids (in any order) and seed.

    Groups are dealt one by one, the largest first, each to the fold that is least full of what the group's subjects
    are like, and of these to the smallest. Without groups, sizes of folds differ by at most one, and so do the numbers
    of subjects of each stratum.

    Args:
        ids: Subject ids.
        count: Number of folds, at least 2.
        seed: Seed of the order in which they are dealt.
        groups: The group of every subject: members share a fold. None: each subject is one.
        strata: What every subject is like, spread evenly over the folds. None: all are alike.

    Returns:
        The fold of every subject, from 1, in the order of the ids.

    Raises:
        DataError: If there are fewer groups than folds.

    Examples:
        >>> make_folds(["a1", "a2", "b1", "c1"], 2, 0, groups={"a1": "a", "a2": "a", "b1": "b", "c1": "c"})
        {'a1': 1, 'a2': 1, 'b1': 2, 'c1': 2}
    """
    members: dict[str, list[str]] = {}
    for subject_id in sorted(ids):
        members.setdefault(groups[subject_id] if groups else subject_id, []).append(subject_id)
    if len(members) < count:
        raise DataError(
            f"{counted(len(members), 'group')} of {counted(len(ids), 'subject')} cannot be divided into {count} folds; "
            "lower [TRAINING] folds"
        )
    names = sorted(members)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    dealt = sorted((names[number] for number in order), key=lambda name: -len(members[name]))
    kinds = {name: Counter(strata[each] if strata else "" for each in members[name]) for name in names}
    total = sum(kinds.values(), Counter[str]())
    filled = [Counter[str]() for _ in range(count)]
    found: dict[str, int] = {}
    for name in dealt:
        cost = [
            (sum(number * fold[kind] / total[kind] for kind, number in kinds[name].items()), fold.total(), place)
            for place, fold in enumerate(filled)
        ]
        place = min(cost)[-1]
        filled[place] += kinds[name]
        found |= dict.fromkeys(members[name], place + 1)
    return {subject_id: found[subject_id] for subject_id in ids}


def write_folds(path: Path, folds: Mapping[str, int]) -> None:
    """Writes the fold of every subject, by a header and a line each; the file appears whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(folds.items())])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())


def read_folds(path: Path) -> dict[str, int]:
    """Reads what `write_folds` wrote.

    Raises:
        DataError: If the file is damaged, or has an id twice; names the line.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise DataError(f"{path}:1: the header is not {','.join(COLUMNS)}; correct it")
    folds: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not row[0] or not row[1].isdecimal() or int(row[1]) < 1:
            raise DataError(f"{path}:{number}: {','.join(row)!r} is not of the form 'subject_id,fold'; correct it")
        if row[0] in folds:
            raise DataError(f"{path}:{number}: subject {row[0]!r} is there twice; remove one of the lines")
        folds[row[0]] = int(row[1])
    return folds
