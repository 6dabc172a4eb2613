"""Divides names of files into subjects and kinds of image, by what explains the names with the least.

Every word of a path belongs to the subject (`P01`), to the kind of image (`_mr`), or stands in all names. The division
that needs the fewest subjects and kinds, leaves the fewest of their pairs without a file and no pair with two, explains
the names best: ten subjects with three images each are 10 + 3, not 30 + 1.
"""

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePath

from sfgkeras.applications.planning.words import CHANNEL, is_kind, is_known

MISSING = 0.1
"""What a subject without an image of a kind costs, beside 1 for each subject and kind."""
SHARED_PLACE = 10.0
"""What two files of one subject and kind cost."""
DOUBT = 0.05
"""What it costs to take a known word for a subject, or an unknown word with digits for a kind: it decides ties."""
SMALL = 40
"""Files up to which every word may be one of a kind; of more, known ones and those without digits in 1 name of 100."""
MOST_CHANNELS = 6
_SEPARATORS = "_", "-", " ", "."
_NUMBERED = re.compile(r"([A-Za-z]{3,})(\d+)")


@dataclass(frozen=True)
class Word:
    """A word of a path.

    Attributes:
        text: The word.
        before: What stands between it and the word before it in the file's name.
        is_folder: Whether it is the name of a folder.
    """

    text: str
    before: str = ""
    is_folder: bool = False

    @property
    def key(self) -> tuple[bool, str]:
        """Words of one key belong to the same: all to subjects, or all to kinds."""
        return self.is_folder, self.text


Name = tuple[Word, ...]
Key = tuple[bool, str]


@dataclass(frozen=True)
class Division:
    """Whose each file is, and what it shows.

    Attributes:
        subjects: The subject of each name.
        kinds: The words of the kind of each name.
        names: The words of each name.
        cost: What the division costs; see the module.
    """

    subjects: tuple[str, ...]
    kinds: tuple[tuple[Word, ...], ...]
    names: tuple[Name, ...]
    cost: float


def divide(paths: Sequence[PurePath], ids: Collection[str] = ()) -> Division:
    """Divides paths into subjects and kinds.

    Args:
        paths: Relative to the folder that was searched, without endings.
        ids: Subjects that tables name; a word of theirs that stands in all paths is part of the subjects' names.
    """
    separator = _separator(paths)
    whole = [_words(path, separator, numbered=False) for path in paths]
    parted = [_words(path, separator, numbered=True) for path in paths]
    best = _best(whole, ids)
    if parted == whole or best.cost < 2 * len(paths) ** 0.5 + 2:  # nothing to part, or explained as well as can be
        return best
    other = _best(parted, ids)
    return other if other.cost < best.cost else best


def _separator(paths: Sequence[PurePath]) -> str:
    """Returns what stands between the words of most names: `_`, or else what is there."""
    counts = [sum(each in path.name for path in paths) for each in _SEPARATORS]
    return next((each for each, count in zip(_SEPARATORS, counts, strict=True) if 2 * count >= len(paths)), "_")


def _words(path: PurePath, separator: str, numbered: bool) -> Name:
    words = [Word(part, is_folder=True) for part in path.parts[:-1]]
    for number, part in enumerate(path.name.split(separator)):
        before = separator if number else ""
        match = _NUMBERED.fullmatch(part) if numbered and not is_kind(part) else None
        words += [Word(match[1], before), Word(match[2])] if match else [Word(part, before)]
    return tuple(words)


def _best(names: Sequence[Name], ids: Collection[str]) -> Division:
    counts = Counter(key for name in names for key in {word.key for word in name})
    constant = {key for key, count in counts.items() if count == len(names)} if len(names) > 1 else set()
    # A known word says what all images are, and is no part of their subjects' ids, which a table may have, too.
    constant -= {key for key in constant if is_known(key[1]) and not key[0] and not any(key[1] in each for each in ids)}
    channels = _channels(names)
    known = {key for key in counts if is_kind(key[1])} | channels
    loose = [
        key
        for key, count in counts.most_common()
        if key[1] and key not in constant and (len(names) <= SMALL or _is_loose(key, count, len(names), known))
    ]
    letters = {key for key in loose if not any(c.isdigit() for c in key[1])}
    starts = {frozenset(start) for start in (known - constant, loose, letters, known - constant | letters, ())}
    tried = [_improved(names, start, loose, constant, known) for start in sorted(starts, key=sorted)]
    return min(tried, key=lambda division: division.cost)


def _is_loose(key: Key, count: int, total: int, known: set[Key]) -> bool:
    return 100 * count >= total and (key in known or not any(c.isdigit() for c in key[1]))


def _channels(names: Sequence[Name]) -> set[Key]:
    """Returns nnU-Net's numbers of channels, where at least half of the names end in one and these are few."""
    last = [name[-1] for name in names if CHANNEL.fullmatch(name[-1].text) and len(name) > 1]
    found = {word.key for word in last}
    return found if len(last) * 2 >= len(names) and len(found) <= MOST_CHANNELS else set()


def _improved(
    names: Sequence[Name],
    start: frozenset[Key],
    loose: Sequence[Key],
    constant: Set[Key],
    known: Set[Key],
) -> Division:
    """Moves single words to the other side as long as that makes the division cheaper."""
    chosen, best = set(start), _division(names, start, constant, known)
    is_better = True
    while is_better:
        is_better = False
        for key in loose:
            tried = _division(names, chosen ^ {key}, constant, known)
            if tried.cost < best.cost - 1e-9:
                chosen, best, is_better = chosen ^ {key}, tried, True
    return best


def _division(
    names: Sequence[Name],
    of_kind: Set[Key],
    constant: Set[Key],
    known: Set[Key],
) -> Division:
    subjects = tuple(
        "/".join(dict.fromkeys(word.text for word in name if word.key not in of_kind | constant)) for name in names
    )
    kinds = tuple(tuple(word for word in name if word.key in of_kind) for name in names)
    pairs = Counter(zip(subjects, (tuple(word.key for word in kind) for kind in kinds), strict=True))
    num_subjects, num_kinds = len(set(subjects)), len({kind for _, kind in pairs})
    missing = _places(pairs) - len(pairs)
    doubts = len(known - of_kind - constant) + sum(any(c.isdigit() for c in key[1]) for key in of_kind - known)
    cost = num_subjects + num_kinds + MISSING * missing + DOUBT * doubts
    cost += SHARED_PLACE * (len(names) - len(pairs))
    return Division(subjects, kinds, tuple(names), cost)


def _places(pairs: Iterable[tuple[str, tuple[Key, ...]]]) -> int:
    """Returns how many pairs of subject and kind there could be: of subjects and kinds that any file leads between."""
    leader: dict[Hashable, Hashable] = {}

    def find(node: Hashable) -> Hashable:
        while leader.setdefault(node, node) != node:
            leader[node] = node = leader[leader[node]]
        return node

    for subject, kind in pairs:
        leader[find(("subject", subject))] = find(("kind", kind))
    groups: dict[Hashable, Counter[str]] = {}
    for node in list(leader):
        groups.setdefault(find(node), Counter())[node[0]] += 1  # type: ignore[index]
    return sum(group["subject"] * group["kind"] for group in groups.values())


def runs(name: Name, kind: Sequence[Word]) -> tuple[str, ...]:
    """Returns the words of a kind as they stand in a file's name, neighbours together, each with what parts it off.

    >>> name = (Word("p1"), Word("seg", "_"), Word("v1", "_"))
    >>> runs(name, name[1:])
    ('_seg_v1',)
    """
    in_file = [word for word in name if not word.is_folder]
    kept = {id(word) for word in kind}
    found: list[str] = []
    is_open = False
    for number, word in enumerate(in_file):
        if id(word) in kept:
            found = [*found[:-1], found[-1] + word.before + word.text] if is_open else [*found, word.before + word.text]
            is_open = True
        else:
            if is_open and number and not found[-1].startswith(word.before or "\0"):
                found[-1] += word.before
            is_open = False
    return tuple(found)
