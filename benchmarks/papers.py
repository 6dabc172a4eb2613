"""Runs the INI files of the lecture's papers, each from an empty folder, and says what it takes and what comes out.

    python benchmarks/papers.py [--only cam,ynet] [--output FILE.json] [--folder DIR] [--print]

For each file: its cohort by the `# data:` line, then `train`, `inference`, `evaluate` and `report` by the command line,
as a user would run them. A file passes if each of them ends well, results and page are there, and all of it takes at
most five minutes; what was measured on the subjects that were kept for inference is printed besides. CPU seconds, of
all threads and processes, stand beside those of the clock, which say little where other programs run too: on two idle
cores a step takes at least half of its CPU seconds, and hardly ever more than all of them. A file is in time if either
sum is at most five minutes. Runs are kept in the file as they are done, by the digest of the INI file: one that has
changed is run again. Without `--folder` the folders are temporary.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sfgkeras.analysis.comparison import markdown_table
from sfgkeras.config.shipped import find_config, list_configs

LECTURE = (
    "eigen", "hyperface", "devries", "tcdcn", "pinto", "ubernet", "moeskops", "maicas", "cam", "ynet", "mgcn",
    "playout", "qin",
)  # fmt: skip
"""INI files of the systems that the lecture surveys, by name."""
MOST_SECONDS = 300
PROGRAM = [sys.executable, "-m", "sfgkeras"]
VERBS = ("train", "inference", "evaluate", "report")
DATA = "data:"


def present_configs() -> list[str]:
    """Returns those files of the lecture that are shipped."""
    shipped = list_configs()
    return [name for name in LECTURE if name in shipped]


def data_commands(text: str) -> list[list[str]]:
    """Returns the commands of the `# data:` lines of an INI file, each as words behind `sfgkeras`.

    Raises:
        ValueError: If there is none, or one is no command of `sfgkeras`.
    """
    lines = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
    found = [line.removeprefix(DATA).split() for line in lines if line.startswith(DATA)]
    if not found or any(words[:1] != ["sfgkeras"] for words in found):
        raise ValueError(f"no line '# {DATA} sfgkeras ...' says how the data are made")
    return [words[1:] for words in found]


def commands_of(name: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the steps of a file: what each is called, and its words behind `sfgkeras`."""
    for words in data_commands(find_config(name).read_text(encoding="utf-8")):
        yield "data", words
    for verb in VERBS:
        yield verb, [verb, "-c", f"{name}.ini"]


def run_config(name: str, folder: Path) -> dict[str, Any]:
    """Runs all steps of a file in an empty folder; returns seconds by step, the measures, and what went wrong."""
    run: dict[str, Any] = {"config": name, "digest": digest_of(name), "problem": "", "measures": {}}
    run |= {"seconds": {}, "cpu_seconds": {}}
    for step, words in commands_of(name):
        begun, used = time.monotonic(), cpu_seconds_of_children()
        try:
            done = subprocess.run(
                [*PROGRAM, *words], cwd=folder, capture_output=True, text=True,
                timeout=4 * MOST_SECONDS, check=False, env={**os.environ, "NO_COLOR": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            run["problem"] = f"{step}: not done after {4 * MOST_SECONDS} s"
            return run
        for kind, taken in (("seconds", time.monotonic() - begun), ("cpu_seconds", cpu_seconds_of_children() - used)):
            run[kind][step] = round(run[kind].get(step, 0.0) + taken, 1)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            run["problem"] = f"{step}: {last}"
            return run
    run["measures"] = read_measures(folder)
    run["problem"] = "" if list(folder.glob("**/report.html")) else "report: there is no page"
    return run


def cpu_seconds_of_children() -> float:
    """Returns what all processes that have been started and waited for have used, those that they started included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_measures(folder: Path) -> dict[str, float]:
    """Returns the mean of every measure over the subjects, by task and label, as `evaluate` has summed it up."""
    found = {}
    for path in sorted(folder.glob("**/evaluation*/**/*_summary.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                groups = [row[name] for name in ("label", "region") if row.get(name) not in (None, "", "all")]
                name = " ".join([path.stem.removesuffix("_summary"), *groups, row["measure"]])
                if math.isfinite(mean := float(row["mean"] or "nan")):
                    found[name] = mean
    return found


def digest_of(name: str) -> str:
    """Returns what changes where the INI file does."""
    return hashlib.sha256(find_config(name).read_bytes()).hexdigest()[:12]


def has_passed(run: dict[str, Any]) -> bool:
    """Says whether all steps ended well, in time."""
    return not run["problem"] and min(sum(run[kind].values()) for kind in ("seconds", "cpu_seconds")) <= MOST_SECONDS


def findings(runs: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Returns a line for each file."""
    return [
        {
            "INI": f"`{run['config']}`",
            "passed": "yes" if has_passed(run) else "no",
            "seconds": f"{sum(run['seconds'].values()):.0f}",
            "CPU seconds": f"{sum(run['cpu_seconds'].values()):.0f}",
            **{f"of which {step}": f"{run['cpu_seconds'].get(step, 0):.0f}" for step in ("data", *VERBS)},
            "result": run["problem"] or "; ".join(f"{name} {value:.4g}" for name, value in run["measures"].items()),
        }
        for run in runs
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is not in the file yet, prints the table, and returns 1 if any file failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of INI files, joined by commas; empty for all")
    parser.add_argument("--output", type=Path, help="JSON file of the runs that are done")
    parser.add_argument("--folder", type=Path, help="where runs are made and left; each in a folder of its own")
    parser.add_argument("--print", action="store_true", help="only print what is in the file")
    given = parser.parse_args(arguments)
    wanted = [name for name in given.only.split(",") if name] or present_configs()
    is_there = given.output is not None and given.output.is_file()
    runs: list[dict[str, Any]] = json.loads(given.output.read_text()) if is_there else []
    runs = [run for run in runs if run["digest"] == digest_of(run["config"])]
    done = {run["config"] for run in runs}
    for name in () if given.print else wanted:
        if name in done:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if given.folder is None else given.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                parser.error(f"{folder} is not empty; name another --folder")
            runs.append(run_config(name, folder))
        print(json.dumps(runs[-1]), flush=True)
        if given.output is not None:
            given.output.write_text(json.dumps(runs) + "\n")
    shown = [run for run in runs if given.print or run["config"] in wanted]
    print(markdown_table(findings(shown)) if shown else "nothing has been run yet")
    return 0 if all(map(has_passed, shown)) else 1


if __name__ == "__main__":
    sys.exit(main())
