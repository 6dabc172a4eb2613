"""Changes the code in one place at a time and looks whether the tests that should notice do.

    python benchmarks/mutations.py                      all of them, two at a time
    python benchmarks/mutations.py grouping steps       those of files whose path holds one of the words

Every mutation is applied to a copy of the checkout, where the fast tests named in `mutations_table.py` and the
tables beside it run until the first failure. A mutation that no test notices has survived; docs/mutations.md says which
do, and why. Modules of others are imported once and shared by forking, so that a mutation costs seconds.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mutations_of_data import DATA
from mutations_of_learning import LEARNING
from mutations_of_options import OPTIONS
from mutations_of_phantoms import PHANTOMS
from mutations_of_preparation import PREPARATION
from mutations_of_sharing import SHARING
from mutations_table import TABLE as FIRST

ROOT = Path(__file__).resolve().parents[1]
TABLE = FIRST + SHARING + LEARNING + DATA + OPTIONS + PHANTOMS + PREPARATION
PRELOADED = (
    "numpy",
    "scipy.ndimage",
    "scipy.stats",
    "hypothesis",
    "keras",
    "tensorflow",
    "SimpleITK",
    "cv2",
    "nibabel",
)
LONGEST = 300
"""Seconds after which a mutation that makes its tests wait counts as noticed."""

KILLED, SURVIVED, STALE = "killed", "SURVIVED", "STALE"
GOAL = 0.95


class Mutation(NamedTuple):
    """One change; see `mutations_table.Mutated`."""

    path: str
    tests: tuple[str, ...]
    old: str
    new: str


def all_mutations(words: Sequence[str] = ()) -> list[Mutation]:
    """Returns the mutations of files whose path holds one of the words; all without words."""
    return [
        Mutation(path, tests, old, new)
        for path, tests, changes in TABLE
        for old, new in changes
        if not words or any(word in path for word in words)
    ]


def mutated(text: str, mutation: Mutation) -> str | None:
    """Returns the text of a file with a mutation; None where what it replaces does not occur exactly once."""
    return text.replace(mutation.old, mutation.new) if text.count(mutation.old) == 1 else None


def copy_checkout(folder: Path) -> Path:
    """Copies what tests need, with the links inside the package, and returns the copy."""
    ignored = shutil.ignore_patterns(
        ".git", "__pycache__", ".venv", "*.egg-info", ".mypy_cache", ".ruff_cache", "*.pyc"
    )
    return Path(shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored))


def run_tests(copy: Path, tests: Sequence[str]) -> int:
    """Runs tests in a copy, in a fork of this process; returns pytest's exit code, or -1 after `LONGEST` seconds."""
    child = os.fork()
    if child == 0:
        code = 70
        with contextlib.suppress(BaseException):
            code = _in_fork(copy, tests)
        os._exit(code)
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _in_fork(copy: Path, tests: Sequence[str]) -> int:
    import pytest

    os.setpgrp()
    os.chdir(copy)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(copy))
    return int(pytest.main(["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *tests]))


def judge(copy: Path, mutation: Mutation) -> str:
    """Applies a mutation to a copy, runs its tests and takes it back; returns `killed`, `SURVIVED` or `STALE`."""
    path = copy / mutation.path
    if not path.is_file():
        return STALE
    original = path.read_text(encoding="utf-8")
    changed = mutated(original, mutation)
    if changed is None:
        return STALE
    try:
        path.write_text(changed, encoding="utf-8")
        code = run_tests(copy, mutation.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    if code in (4, 5):
        raise SystemExit(f"{mutation.tests}: no such tests")
    return SURVIVED if code == 0 else KILLED


def refuse_failing(copy: Path, mutations: Sequence[Mutation]) -> None:
    """Refuses to begin where a test fails without any mutation.

    Raises:
        SystemExit: Names the tests.
    """
    for tests in dict.fromkeys(tests for mutation in mutations for tests in mutation.tests):
        code = run_tests(copy, [tests])
        if code != 0:
            raise SystemExit(f"{tests} fails without a mutation (exit code {code}); nothing can be learnt from it")


def one_line(text: str) -> str:
    """Returns code on one line, cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= 90 else line[:87] + "..."


def main(words: Sequence[str], workers: int, trusting: bool) -> int:
    """Judges mutations, prints each, and returns 1 where fewer than the goal are killed."""
    if any(module.split(".")[0] == "sfgkeras" for module in sys.modules):
        raise SystemExit("sfgkeras is imported already; the copies would not be what is tested")
    mutations = all_mutations(words)
    for module in PRELOADED:
        importlib.import_module(module)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copies = [copy_checkout(Path(folder) / f"copy_{number}") for number in range(workers)]
        if not trusting:
            refuse_failing(copies[0], mutations)
        free = list(copies)

        def take(mutation: Mutation) -> tuple[Mutation, str]:
            copy = free.pop()
            try:
                return mutation, judge(copy, mutation)
            finally:
                free.append(copy)

        with ThreadPoolExecutor(workers) as pool:
            for mutation, verdict in pool.map(take, mutations):
                counts[verdict] += 1
                print(
                    f"{verdict:8}  {mutation.path}: {one_line(mutation.old)}  ->  {one_line(mutation.new)}", flush=True
                )
    judged = counts[KILLED] + counts[SURVIVED]
    share = counts[KILLED] / judged if judged else 0.0
    print(
        f"{counts[KILLED]} of {judged} killed ({share:.1%}), {counts[STALE]} stale, {time.monotonic() - began:.0f} s; "
        f"goal {GOAL:.0%}"
    )
    return int(share < GOAL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="parts of paths; all files without")
    parser.add_argument("--workers", type=int, default=2, help="mutations at a time")
    parser.add_argument("--trusting", action="store_true", help="do not run the tests without a mutation first")
    options = parser.parse_args()
    sys.exit(main(options.words, options.workers, options.trusting))
