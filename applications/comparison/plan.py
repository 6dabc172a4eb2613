"""Which runs a comparison needs: the same data, windows and budget for all, a folder for each."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.cohort import find_cohort, keep_split
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.config import Config
from sfgkeras.config.mechanism import SECTION, sharing_keys
from sfgkeras.data.subjects import read_split, write_split
from sfgkeras.errors import ConfigError, Problem, suggestion
from sfgkeras.quoting import quoted
from sfgkeras.tables.sharing import SHARING

Overrides = Sequence[tuple[str, str]]
ALL = "all"
"""What `--sharing` calls all mechanisms."""
FINE_TUNING = "fine_tuning"
"""What `--sharing` calls a network of one task after the other."""

_NO_FOLDER = re.compile(r'[\\/:*?"<>|\x00-\x1f]|\.$')


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        network: Its name in the tables.
        seed: Its seed.
        config: Its configuration, with a `model_dir` of its own.
        is_row: Whether it is a row of `[COMPARE]`.
        start: The network whose run of this seed, which comes before it, it starts from; empty for none.
    """

    network: str
    seed: int
    config: Config
    is_row: bool = False
    start: str = ""


@dataclass(frozen=True)
class _Line:
    """A line of the tables: a network, its file, what is changed in the file, and the row of `[COMPARE]`, if any.

    `start` is the network that its runs start from; empty for none.
    """

    network: str
    path: Path
    changes: Overrides
    row: str | None = None
    start: str = ""


def choose_plan(
    paths: Sequence[Path],
    rows: Sequence[str],
    sharing: Sequence[str],
    seeds: int,
    output: Path,
    overrides: Overrides = (),
    fractions: Sequence[float] = (1.0,),
) -> tuple[list[PlannedRun], dict[str, str] | None]:
    """Plans what is asked for: several INI files, rows of one file's `[COMPARE]`, or sharing mechanisms.

    Args:
        paths: The INI files.
        rows: Names of rows; with neither rows nor mechanisms, all rows of a file that has some.
        sharing: Names of mechanisms; see `plan_sharing`.
        seeds: Runs of each.
        output: Folder of the comparison.
        overrides: Further `("SECTION.KEY", "VALUE")` for all runs.
        fractions: Parts of the training subjects to train on.

    Returns:
        The runs; and, where all mechanisms are wanted, those that the file cannot be used with, and why.

    Raises:
        ConfigError: If they do not fit each other, or a plan cannot be made.
    """
    named = [name.lower() for name in rows]
    if len(paths) > 1 and (sharing or named or list(fractions) != [1.0]):
        raise ConfigError(
            f"--rows, --sharing and --fractions vary one INI file, not {len(paths)}; leave them out, or give one -c"
        )
    if sharing and named:
        raise ConfigError("--rows stands beside --sharing; give one of them, or rows with network.sharing: NAME")
    if len(paths) > 1:
        return plan_files(paths, seeds, output, overrides), None
    if named or (not sharing and read_run(paths[0], overrides).rows):
        return plan_rows(paths[0], named, seeds, output, overrides, fractions), None
    refused: dict[str, str] | None = {} if wants_all(sharing) else None
    return plan_sharing(paths[0], sharing, seeds, output, overrides, fractions, refused), refused


def plan_sharing(
    path: Path,
    sharing: Sequence[str],
    seeds: int,
    output: Path,
    overrides: Overrides = (),
    fractions: Sequence[float] = (1.0,),
    refused: MutableMapping[str, str] | None = None,
) -> list[PlannedRun]:
    """Plans one INI file with several sharing mechanisms; only these differ, as in the paper.

    Constant masks and constant probabilities are those of the paper's baselines, equal parts for all groups. Run number
    n of every mechanism has seed n, and with it the same windows in the same order. Settings that the command line
    gives go to the mechanisms that have them.

    `fine_tuning` is a chain of hard-shared networks of one task: the first task alone, and every other one from what
    the network of the one before it has learned. Each of them is a network of its own in the tables.

    Args:
        path: The INI file.
        sharing: Names of the mechanisms; `all`, or none, for all of them; and `fine_tuning`, which is in no `all`.
        seeds: Runs per mechanism.
        output: Folder of the comparison.
        overrides: Further `("SECTION.KEY", "VALUE")` for all runs.
        fractions: Parts of the training subjects to train on, each a network of its own in the tables.
        refused: Takes the mechanisms that the file cannot be used with, where all are wanted, and why. Without it,
            or where they are named, that is an error.

    Raises:
        ConfigError: If a name is unknown, a named mechanism or all of them cannot be used, or the INI file has no
            `[MULTITASK]`.
    """
    known = (*SHARING, FINE_TUNING)
    for name in sharing:
        if name not in (*known, ALL):
            hint = suggestion(name, list(known)) or f"; choose of {', '.join(known)}"
            raise ConfigError(f"--sharing {name!r} is not known{hint}")
    names = tuple(SHARING) if wants_all(sharing) else tuple(name for name in dict.fromkeys(sharing) if name in SHARING)
    base = read_run(path, overrides)
    if base.application != "multi_task":
        raise Problem("has one task", "sharing is compared for applications with [MULTITASK]", file=str(path))
    if FINE_TUNING in sharing and len(base.tasks) < 2:
        what = f"has one task, {next(iter(base.tasks))}; --sharing {FINE_TUNING} learns another one from it"
        raise Problem(what, "give it two tasks", file=str(path))
    lines: list[_Line] = []
    for fraction, common in _shared_by_all(path, base, output, overrides, fractions):
        for name in names:
            line = _Line(_label(name, fraction), path, [*_of_mechanism(common, name), *_of_sharing(base, name)])
            try:
                read_run(path, line.changes)
            except ConfigError as error:
                if refused is None or not wants_all(sharing):
                    raise
                refused[line.network] = reason_of(error, path)
            else:
                lines.append(line)
        if FINE_TUNING in sharing:
            lines += _fine_tuned(path, base, common, fraction)
    if not lines:
        raise ConfigError(f"{path}: no sharing mechanism can be used: {'; '.join((refused or {}).values())}")
    return _over_seeds(lines, seeds, output)


def _fine_tuned(path: Path, base: Config, common: Overrides, fraction: float) -> Iterator[_Line]:
    """Yields a network of the first task alone, and one of every other task that starts from the one before it."""
    changes = [*_of_mechanism(common, "hard_sharing"), *_of_sharing(base, "hard_sharing")]
    before, start = "", ""
    for task in base.tasks:
        network = _label(f"{task} after {before}" if before else f"{task} alone", fraction)
        # A row like those of [COMPARE]: what it leaves out of the file is left out on purpose.
        row = (f"COMPARE.{FINE_TUNING}", f"tasks: {quoted(task, ',;')}")
        yield _Line(network, path, [*changes, row], FINE_TUNING, start)
        before, start = task, network


def wants_all(sharing: Sequence[str]) -> bool:
    """Says whether `--sharing` asks for all mechanisms."""
    return not sharing or ALL in sharing


def reason_of(error: ConfigError, path: Path) -> str:
    """Returns why something was refused, in one line and without the name of the file, which all runs share."""
    return " ".join(str(error).replace(f"{path}:", "").split())


def _of_mechanism(changes: Overrides, name: str) -> list[tuple[str, str]]:
    """Leaves out settings on the command line that only other mechanisms have."""
    keys = sharing_keys()

    def is_meant(key: str) -> bool:
        section, _, setting = key.partition(".")
        return section.strip().upper() != SECTION or name in keys.get(setting.strip().lower(), (name,))

    return [(key, value) for key, value in changes if is_meant(key)]


def plan_rows(
    path: Path,
    names: Sequence[str],
    seeds: int,
    output: Path,
    overrides: Overrides = (),
    fractions: Sequence[float] = (1.0,),
) -> list[PlannedRun]:
    """Plans the rows of an INI file's `[COMPARE]`, all of them on the subjects that have every target of the file.

    Run number n of every row has seed n, and with it the same windows in the same order, where the row does not change
    how they are drawn.

    Args:
        path: The INI file.
        names: Names of the rows; empty for all. Rows that they start from are added.
        seeds: Runs per row.
        output: Folder of the comparison.
        overrides: Further `("SECTION.KEY", "VALUE")` for all runs.
        fractions: Parts of the training subjects to train on, each a network of its own in the tables.

    Raises:
        ConfigError: If there is no such row, or the file has none.
    """
    base = read_run(path, overrides)
    if not base.rows:
        raise Problem("has no [COMPARE] with rows to compare", "add one, e.g. base = tasks: mask", file=str(path))
    rows = _with_starts(names or base.rows, base.row_starts)
    lines = []
    for fraction, common in _shared_by_all(path, base, output, overrides, fractions):
        starts = {row: _label(base.row_starts[row], fraction) for row in rows if row in base.row_starts}
        lines += [_Line(_label(row, fraction), path, common, row, starts.get(row, "")) for row in rows]
    return _over_seeds(lines, seeds, output, are_rows=True)


def _with_starts(names: Sequence[str], starts: Mapping[str, str]) -> list[str]:
    """Returns rows, each behind the one that it starts from, which is there whether it is asked for or not."""
    found: dict[str, None] = {}
    for name in names:
        chain = [name]
        while chain[-1] in starts:
            chain.append(starts[chain[-1]])
        found.update(dict.fromkeys(reversed(chain)))
    return list(found)


def plan_files(paths: Sequence[Path], seeds: int, output: Path, overrides: Overrides = ()) -> list[PlannedRun]:
    """Plans several INI files as they are, over seeds; files with one cohort should name one split file.

    Raises:
        ConfigError: If two files have the same name, or their tasks differ.
    """
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        raise ConfigError(f"two files of {', '.join(map(str, paths))} have one name, which is theirs in the tables")
    folder_names(stems)
    bases = [read_run(path, overrides) for path in paths]
    wanted = {name: task.type for name, task in bases[0].tasks.items()}
    for path, base in zip(paths, bases, strict=True):
        if not {name: task.type for name, task in base.tasks.items()}.items() & wanted.items():
            raise ConfigError(f"{path}: has no task in common with {paths[0]} ({', '.join(wanted)})")
    lines = [
        _Line(path.stem, path, common)
        for path, base in zip(paths, bases, strict=True)
        for _, common in _shared_by_all(path, base, output, overrides, (1.0,))
    ]
    return _over_seeds(lines, seeds, output)


def folder_names(networks: Sequence[str]) -> dict[str, str]:
    """Returns the name of the folder of each network's runs: `sfg_0.5_of_the_data` of `sfg, 0.5 of the data`.

    Args:
        networks: Names in the tables.

    Raises:
        Problem: If two networks would share a folder, also where a file system does not tell letter case apart, or a
            name is none of a folder on every file system.
    """
    folders: dict[str, str] = {}
    owners: dict[str, str] = {}
    for network in networks:
        folder = network.replace(", ", "_").replace(" ", "_")
        if not folder or _NO_FOLDER.search(folder):
            raise Problem(
                f"{network!r} cannot be the name of its runs' folder everywhere",
                "rename it, without slashes, colons and the like, and without a dot at the end",
            )
        owner = owners.setdefault(unicodedata.normalize("NFC", folder).casefold(), network)
        if owner != network:
            raise Problem(
                f"{owner!r} and {network!r} would have one folder of runs, {folder}, where letter case tells no files "
                "apart",
                "rename one of them",
            )
        folders[network] = folder
    return folders


def _over_seeds(lines: Sequence[_Line], seeds: int, output: Path, are_rows: bool = False) -> list[PlannedRun]:
    """Returns a run of every line and seed, seed after seed, each with a folder of its own."""
    folders = folder_names([line.network for line in lines])
    plan = []
    for seed in range(seeds):
        for line in lines:
            folder = output / "runs" / folders[line.network] / f"seed_{seed}"
            changes = [*line.changes, ("SYSTEM.model_dir", str(folder)), ("SYSTEM.seed", str(seed))]
            if line.start:
                start = output / "runs" / folders[line.start] / f"seed_{seed}"
                changes.append(("TRAINING.restore_from", str(start.resolve())))
            config = read_run(line.path, changes, line.row)
            plan.append(PlannedRun(line.network, seed, config, are_rows, line.start))
    return plan


def _label(name: str, fraction: float) -> str:
    return name if fraction == 1 else f"{name}, {fraction:g} of the data"


def _shared_by_all(
    path: Path, base: Config, output: Path, overrides: Overrides, fractions: Sequence[float]
) -> Iterator[tuple[float, list[tuple[str, str]]]]:
    """Yields each part of the training subjects with what all runs of a file on it have in common."""
    for fraction, split in _write_splits(base, path.stem, output, fractions).items():
        yield fraction, [*overrides, *_common(base, path.stem, split, output, fraction)]


def _write_splits(base: Config, stem: str, output: Path, fractions: Sequence[float]) -> dict[float, Path]:
    """Writes one split per fraction; the INI's own where it exists, else one drawn by its seed, for all runs."""
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"--fractions {fraction:g} is no part of the training subjects; use e.g. 1, 0.25")
    fractions = list(dict.fromkeys(fractions))
    texts = [f"{fraction:g}" for fraction in fractions]
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"--fractions has two parts that are {text} to six digits; leave one of them out")
    folder = output / "splits"
    make_writable(folder)
    whole = folder / f"{stem}.csv"
    if not whole.is_file():
        cohort = find_cohort(base)
        keep_split(base, cohort)
        write_split(whole, read_split(base.system.dataset_split_file))
    split = read_split(whole)
    order = np.random.default_rng(base.system.seed).permutation(split["training"]).tolist()
    found = {}
    for fraction in fractions:
        found[fraction] = whole if fraction == 1 else folder / f"{stem}_{fraction:g}.csv"
        if fraction < 1:
            kept = set(order[: max(1, round(fraction * len(order)))])
            write_split(found[fraction], {**split, "training": [name for name in split["training"] if name in kept]})
    return found


def _common(base: Config, stem: str, split: Path, output: Path, fraction: float) -> list[tuple[str, str]]:
    """Returns what all runs of a file share: the split, prepared volumes, landmarks."""
    changes = [
        ("SYSTEM.dataset_split_file", str(split.resolve())),
        ("SYSTEM.cache_dir", str((output / "cache").resolve())),
    ]
    shared = (output / "shared" / f"{stem}_{fraction:g}").resolve()
    if base.network.histogram_ref_file is not None:
        changes.append(("NETWORK.histogram_ref_file", str(shared / base.network.histogram_ref_file.name)))
    if base.preprocessing is not None:
        changes.append(("PREPROCESSING.output", str(shared / "preprocessed")))
    return changes


def _of_sharing(base: Config, name: str) -> list[tuple[str, str]]:
    """Returns what makes a file one of a mechanism; keys that ask for another one are set to fit."""
    changes = [
        ("NETWORK.sharing", name),
        ("MULTITASK.learn_categorical", "yes" if SHARING[name].learned else "no"),
        ("MULTITASK.constant_grouping", "yes" if SHARING[name].constant else "no"),
    ]
    if name in ("constant_mask", "constant_p"):
        groups = len(base.tasks) + 1
        changes.append(("MULTITASK.init_categorical", ", ".join([repr(1 / groups)] * groups)))
        changes.append(("MULTITASK.random_p_init", "no"))
    if not SHARING[name].learned:
        changes.append(("TRAINING.stop_when_grouping_converges", "no"))
    if not SHARING[name].drawn:
        changes.append(("INFERENCE.monte_carlo", "0"))
    return changes
