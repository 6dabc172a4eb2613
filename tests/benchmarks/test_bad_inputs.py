"""The script of bad inputs: it tells a right end from a wrong one, and the tries themselves end as its table says."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bad_inputs.py"
GROUPS = ("INI files", "headers", "voxels", "subjects", "photos and tables", "HDF5", "DICOM", "environment")


@pytest.fixture
def bad_inputs(load_benchmark):
    return load_benchmark("bad_inputs")


@pytest.fixture
def judge(bad_inputs):
    """Returns a function: how a verb should end, its exit code and lines -> what is wrong with that."""
    attempt = bad_inputs.Try("group", "name", lambda place: None, says="lr")

    def judge(ends, code, said, before=None, after=None):
        ended = bad_inputs.Ended(code, said, 0.1)
        return bad_inputs.complaints(replace(attempt, ends=ends), ended, before or {}, after or {})

    return judge


def test_what_ends_as_it_should_is_no_complaint(judge):
    assert judge("refused", 2, "sfgkeras: run.ini:3: [TRAINING] lr = 'x' is not a number") == []
    assert judge("warned", 0, "warning: lr is large\nnext: train") == []
    assert judge("works", 0, "next: train", {"a": "1"}, {"a": "1", "new": "2"}) == []
    assert judge("refused|works", 0, "next: train") == []


@pytest.mark.parametrize(
    ("ends", "code", "said", "wrong"),
    [
        ("refused", 0, "lr", "works, for refused"),
        ("works", 0, "warning: lr", "warned, for works"),
        ("works", 1, "lr", "exit code 1, for works"),
        ("works", -11, "lr", "exit code -11, for works"),
        ("refused", 2, "is not a number", "does not say 'lr'"),
        ("warned", 0, "warning: what\nlr", "does not say 'lr'"),
        ("refused", 2, "TypeError: lr", "a raw error is seen"),
        ("refused", 2, "lr (--debug shows where)", "a raw error is seen"),
        ("works", None, "lr", "did not end in time"),
    ],
)
def test_what_ends_otherwise_is_told(judge, ends, code, said, wrong):
    assert judge(ends, code, said) == [wrong]


def test_a_file_that_has_changed_or_gone_is_told(judge):
    assert judge("works", 0, "", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}) == ["changed or lost: b, c"]


def test_a_key_is_set_in_its_own_section_and_line(bad_inputs, tmp_path):
    place = bad_inputs.Place(tmp_path)
    place.ini.write_text("[A]\nx = 1\ny = 2\n[B]\nx = 3\n")
    place.set("B", "x", "4")
    place.set("A", "z", "5")
    place.set("A", "y", None)
    assert place.ini.read_text() == "[A]\nz = 5\nx = 1\n\n[B]\nx = 4\n"
    place.remove_section("A")
    assert place.ini.read_text() == "[B]\nx = 4\n"


def test_there_are_more_than_two_hundred_tries_each_with_a_name_of_its_own(load_benchmark):
    tries = load_benchmark("bad_inputs_table").TRIES
    assert len(tries) > 200
    assert len({(attempt.group, attempt.name) for attempt in tries}) == len(tries)
    assert {attempt.group for attempt in tries} == {*GROUPS, "settings", "commands"}


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_a_try_is_run_in_a_process_of_its_own_and_reported(tmp_path):
    done = run("--only", "a FIFO,a changed byte", "--markdown", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stdout
    assert "2 of 2 tries end as they should" in done.stdout
    assert re.search(r"\| headers \| a changed byte \| refused \| .*p0_mr", (tmp_path / "table.md").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "group",
    ["settings", pytest.param("commands", marks=pytest.mark.ci_sample), *GROUPS],
    ids=lambda name: name.replace(" ", "_"),
)
def test_bad_inputs_end_as_users_would_want(group):
    done = run("--only", group)
    assert done.returncode == 0, done.stdout
