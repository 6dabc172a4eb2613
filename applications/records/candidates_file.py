"""`explore.csv`: what the candidates of `schedule = auto` came to, and which of them went on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfgkeras.applications.records.files import write_text

LOSS, UNTRAINED = "loss_", "untrained_"
_COLUMNS = ("rung", "candidate", "chosen", "score", "iterations", "multiplies", "seconds")


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes:
        rung: When it was judged, from 1: the first time, the second time.
        name: Its name in `tables.candidates`.
        iterations: How long it had trained by then.
        losses: Mean held-out loss by task after it; not finite where training has diverged.
        untrained: The same before the training; empty where it was not measured.
        multiplies: Of the network that goes on, per window.
        seconds: What its training took since the rung before.
        score: See `sharing.judging.missed_shares`; None where there was nothing to compare with.
        chosen: Whether it went on.
    """

    rung: int
    name: str
    iterations: int
    losses: Mapping[str, float]
    untrained: Mapping[str, float]
    multiplies: int
    seconds: float
    score: float | None = None
    chosen: bool = False


def write_candidates(path: Path, candidates: Sequence[Candidate]) -> None:
    """Writes the table."""
    tasks = list(dict.fromkeys(task for each in candidates for task in each.losses))
    names = [*_COLUMNS, *(f"{LOSS}{task}" for task in tasks), *(f"{UNTRAINED}{task}" for task in tasks)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for each in candidates:
        row = {
            "rung": each.rung,
            "candidate": each.name,
            "chosen": "yes" if each.chosen else "no",
            "score": "" if each.score is None else f"{each.score:.6g}",
            "iterations": each.iterations,
            "multiplies": each.multiplies,
            "seconds": f"{each.seconds:.1f}",
        }
        row |= {f"{LOSS}{task}": f"{loss:.7g}" for task, loss in each.losses.items()}
        writer.writerow(row | {f"{UNTRAINED}{task}": f"{loss:.7g}" for task, loss in each.untrained.items()})
    write_text(path, text.getvalue())


def read_candidates(path: Path) -> list[Candidate]:
    """Reads the table; empty where there is none, or a damaged one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_candidate(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return []


def _candidate(row: Mapping[str, str]) -> Candidate:
    def of_tasks(prefix: str) -> dict[str, float]:
        return {
            name.removeprefix(prefix): float(text) for name, text in row.items() if name.startswith(prefix) and text
        }

    return Candidate(
        rung=int(row["rung"]),
        name=row["candidate"],
        iterations=int(row["iterations"]),
        losses=of_tasks(LOSS),
        untrained=of_tasks(UNTRAINED),
        multiplies=int(row["multiplies"]),
        seconds=float(row["seconds"]),
        score=float(row["score"]) if row["score"] else None,
        chosen=row["chosen"] == "yes",
    )
