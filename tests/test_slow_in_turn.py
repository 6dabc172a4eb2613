"""Slow tests that nobody runs otherwise are run in turn."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture(scope="module")
def conftest():
    spec = importlib.util.spec_from_file_location("conftest_of_all_tests", CONFTEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("count", "parts"), [(20, 6), (7, 3), (5, 5), (2, 6), (1, 1)])
def test_every_test_is_run_once_in_as_many_turns_as_there_are_parts(conftest, count, parts):
    names = [f"test_{number}" for number in range(count)]
    for begin in (0, 85, 86):
        found = [name for turn in range(begin, begin + parts) for name in conftest.in_turn(names[::-1], parts, turn)]
        assert sorted(found) == sorted(names)


def test_another_test_of_a_part_is_the_first_each_time(conftest):
    names = [f"test_{number}" for number in range(12)]
    firsts = [conftest.in_turn(names, 3, turn)[0] for turn in range(1, 13, 3)]
    assert len(set(firsts)) == 4


def test_the_turn_is_the_number_of_the_commit_and_without_a_repository_of_the_day(conftest, tmp_path):
    assert conftest.this_turn(tmp_path) > 20_000
    for command in (["init", "-q"], *[["commit", "-q", "--allow-empty", "-m", str(n)] for n in range(3)]):
        settings = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", str(tmp_path), *settings, *command], check=True)
    assert conftest.this_turn(tmp_path) == 3


def test_the_option_chooses_slow_tests_without_a_sample_and_begins_none_when_the_time_is_over(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    ci_sample\n")
    slow = "\n".join(f"@pytest.mark.slow\ndef test_slow_{n}(): pass" for n in range(6))
    (tmp_path / "test_some.py").write_text(
        f"import pytest\n{slow}\ndef test_fast(): pass\n"
        "@pytest.mark.slow\n@pytest.mark.ci_sample\ndef test_sampled(): pass\n"
    )

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    first, second = run("--in-turn", "3", "--turn", "0"), run("--in-turn", "3", "--turn", "1")
    assert "2 passed, 6 deselected" in first
    assert "test_slow_0 PASSED" in first
    assert "test_slow_3 PASSED" in first
    assert "test_slow_1 PASSED" in second
    assert "2 skipped, 6 deselected" in run("--in-turn", "3", "--in-turn-seconds", "-1")
    assert "8 passed" in run()


def test_a_test_that_takes_longer_than_a_turn_is_left_to_be_run_by_hand(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    ci_sample\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n@pytest.mark.slow(minutes=3)\ndef test_longer(): pass\n"
        "@pytest.mark.slow(minutes=1)\ndef test_shorter(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--in-turn", "1", "--in-turn-seconds"]

    def run(seconds):
        return subprocess.run([*command, seconds], cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "takes 3 minutes, longer than a turn" in run("120")
    assert "1 passed, 1 skipped" in run("120")
    assert "2 passed" in run("240")
