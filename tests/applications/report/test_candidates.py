"""The candidates of a search on the report."""

import numpy as np

from sfgkeras.applications.records.candidates_file import Candidate, write_candidates
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.report.candidates import candidates_parts


def row(rung, name, score, chosen):
    losses = {"ct": 0.25, "organs": np.inf if score == np.inf else 1.5}
    return Candidate(rung, name, 125 * rung, losses, {}, 123456, 7.5, score, chosen)


def test_a_search_is_told_with_every_candidate_and_who_went_on(tmp_path):
    run = RunFolder(tmp_path)
    assert candidates_parts(run) == []
    table = [
        row(1, "learned", 0.5, False), row(1, "shared", 0.0625, True), row(1, "tapered", np.inf, False),
        row(2, "shared", 0.0, True),
    ]  # fmt: skip
    write_candidates(run.candidates, table)
    text, html = candidates_parts(run)
    assert "the candidate shared went on from iteration 250" in text
    assert [html.count(name) for name in ("learned", "shared", "tapered", "0.0625", "123456")] == [1, 2, 1, 1, 4]
    assert html.index("held-out loss of organs") < html.index("multiplies per window")


def test_one_alone_is_told_in_a_sentence(tmp_path):
    run = RunFolder(tmp_path)
    write_candidates(run.candidates, [row(1, "shared", None, True)])
    (text,) = candidates_parts(run)
    assert "It was the only one" in text
