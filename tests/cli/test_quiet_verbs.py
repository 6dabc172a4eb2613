"""No verb shows a line of a library, neither on a terminal nor in a pipe."""

import re

import pytest

from sfgkeras.cli.group import commands
from sfgkeras.cli.line_filter import LIBRARY_LINE

FOREIGN = re.compile(
    r"(?i:cuda|oneDNN|absl|tensorflow/|\bxla\b|NodeDef|gRPC|AVX|retracing)|[A-Z]\w*Warning\b|WARNING|Traceback"
)

IN_ORDER = {
    "phantom": ["--output", "made", "--subjects", "1"],
    "configs": [],
    "check": ["-c", "run.ini"],
    "train": ["-c", "run.ini"],
    "inference": ["-c", "run.ini"],
    "predict": ["-c", "model", "--input", "made", "--output", "new"],
    "evaluate": ["-c", "run.ini"],
    "report": ["-c", "run.ini", "--activations", "--subjects", "1"],
    "export": ["-c", "run.ini", "--format", "saved_model"],
    "preprocess": ["--input", "made", "--output", "done", "--steps", "reorient,whiten", "--workers", "2"],
    "compare": ["-c", "run.ini", "--sharing", "hard_sharing", "--seeds", "1"],
}
"""Every verb with arguments that make it do its whole work, each on what those before it wrote."""

OWN_TESTS = {"demo", "evaluation", "convert", "completion", "schema", "plan", "dicom"}
"""Verbs that are run elsewhere: a name twice, those that load no TensorFlow, and the demo, which takes minutes."""


def foreign_lines(said):
    lines = [line.strip() for line in said.replace("\r", "\n").splitlines()]
    return [line for line in lines if LIBRARY_LINE.match(line.encode()) or FOREIGN.search(line)]


def test_every_verb_is_looked_at():
    assert set(commands.commands) <= set(IN_ORDER) | OWN_TESTS


@pytest.mark.parametrize(
    "line",
    [
        "E0000 00:00:1795275116.776613   14725 cuda_platform.cc:52] failed call to cuInit",
        "/usr/lib/x.py:3: DeprecationWarning: old",
    ],
)
def test_foreign_lines_are_known_as_such(line):
    assert foreign_lines(f"tasks: ct\n{line}\n") == [line]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_no_verb_shows_a_line_of_a_library(verb, run_folder, where):
    for name, arguments in IN_ORDER.items():
        ended = verb(name, *arguments, where=where, cwd=run_folder)
        assert ended.code == 0, ended.said
        assert foreign_lines(ended.said) == [], name
        assert ended.stdout.strip(), name
        assert ended.stderr == "", name


@pytest.mark.slow
def test_the_demo_shows_no_line_of_a_library(verb, tmp_path):
    ended = verb("demo", "--output", "demo", cwd=tmp_path)
    assert ended.code == 0, ended.said
    assert foreign_lines(ended.said) == []
    assert ended.stderr == ""
