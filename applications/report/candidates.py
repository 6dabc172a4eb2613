"""What a search for groups has tried, as a part of the report: `explore.csv` in words and a table."""

from typing import Any

from markupsafe import Markup

from sfgkeras.analysis.page import table_html
from sfgkeras.applications.records.candidates_file import Candidate, read_candidates
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.pages import elements


def candidates_parts(run: RunFolder) -> list[Markup]:
    """Returns a sentence and a table of the candidates of `schedule = auto`; nothing where there were none."""
    found = read_candidates(run.candidates)
    chosen = [each for each in found if each.chosen]
    if not chosen:
        return []
    winner = chosen[-1]
    text = (
        f"schedule = auto: the candidate {winner.name} went on from iteration {winner.iterations:,}, and from there on "
        "the groups are fixed. What lies before that is what this candidate did."
    )
    if winner.score is None:
        return [elements.paragraph(f"{text} It was the only one.")]
    caption = (
        "Candidates at each rung. Score: share of what training improves that a candidate misses on held-out windows, "
        "mean over tasks; 0 is the best on every task"
    )
    marked = [place for place, each in enumerate(found) if each.chosen]
    return [elements.paragraph(text), table_html([_row(each) for each in found], caption, marked=marked)]


def _row(candidate: Candidate) -> dict[str, Any]:
    return {
        "candidate": candidate.name,
        "iteration": candidate.iterations,
        "goes on": "yes" if candidate.chosen else "no",
        "score": candidate.score,
        **{f"held-out loss of {task}": loss for task, loss in candidate.losses.items()},
        "multiplies per window": candidate.multiplies,
        "seconds": candidate.seconds,
    }
