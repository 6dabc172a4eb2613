"""Rows of the goals table say which code they are of, and when a machine was too busy for them."""

import importlib.metadata
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def machine(load_benchmark):
    return load_benchmark("goals_machine")


def times(tmp_path, *ticks):
    path = tmp_path / "stat"
    path.write_text("cpu  " + " ".join(map(str, ticks)) + "\ncpu0 1 2 3\n")
    return path


def test_work_is_all_that_is_neither_idle_nor_waiting(machine, tmp_path):
    """Of Linux: user, nice, system, idle, waiting, two kinds of interrupts, stolen, and guests, who count as user."""
    assert machine.processor_times(times(tmp_path, 10, 20, 30, 500, 40, 1, 2, 3, 99, 99)) == (66, 606)


@pytest.mark.parametrize("text", ["", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"])
def test_a_system_that_does_not_say_counts_as_idle(machine, tmp_path, text):
    path = tmp_path / "stat"
    path.write_text(text)
    assert machine.processor_times(path) is None
    assert machine.busy_share(0.0, path) == 0.0
    assert machine.busy_share(0.0, tmp_path / "none") == 0.0


def test_the_share_is_of_the_time_between_two_readings(machine, tmp_path, monkeypatch):
    readings = iter([(100, 1000), (130, 1200)])
    monkeypatch.setattr(machine, "processor_times", lambda source: next(readings))
    assert machine.busy_share(0.0) == pytest.approx(0.15)


def test_the_line_names_the_commit_and_the_versions(machine, load_benchmark):
    settings = load_benchmark("goals_timing").Settings(threads=1, repeats=3)
    line = machine.describe_machine(settings)
    assert line.startswith(f"commit {machine.commit()}; ")
    assert f"numpy {importlib.metadata.version('numpy')}" in line
    assert "1 threads" in line
    assert "median of 3" in line


def test_the_commit_is_gits(machine):
    root = Path(__file__).parents[2]
    found = subprocess.run(
        ["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    assert machine.commit().rstrip("+") == (found.stdout.strip() or "unknown")


def test_a_row_of_a_busy_machine_is_not_comparable(load_benchmark):
    pytest.importorskip("tensorflow")
    goals = load_benchmark("goals")
    row = {"what": "x / y", "goal": 1.0, "unit": "ratio", "met": True, "value": 0.5, "ours": 1.0, "peer": 2.0}
    assert goals.markdown([{**row, "busy": 0.05}]).endswith("| met |\n")
    assert goals.markdown([{**row, "busy": 0.4}]).endswith(
        "| met; not comparable: 40% of the processors were at other work |\n"
    )
