import csv

import numpy as np
import pytest

from sfgkeras.analysis import tables

ROWS = [
    {"subject_id": "a", "label": "prostate", "dice": 0.8, "hausdorff": 4.0},
    {"subject_id": "b", "label": "prostate", "dice": 0.6, "hausdorff": float("inf")},
    {"subject_id": "c", "label": "prostate", "dice": 0.7, "hausdorff": float("nan")},
    {"subject_id": "a", "label": "bladder", "dice": 0.9, "hausdorff": None},
]


def test_a_summary_has_the_statistics_of_every_group_and_measure():
    summary = {(row["label"], row["measure"]): row for row in tables.summarise(ROWS, by=("label",))}
    assert set(summary) == {(label, name) for label in ("prostate", "bladder") for name in ("dice", "hausdorff")}
    dice = summary["prostate", "dice"]
    assert dice["mean"] == pytest.approx(0.7)
    assert dice["std"] == pytest.approx(np.std([0.8, 0.6, 0.7], ddof=1))
    assert dice["median"] == pytest.approx(0.7)
    assert (dice["n"], dice["n_missing"]) == (3, 0)


def test_values_that_are_not_finite_are_counted_and_left_out():
    summary = {(row["label"], row["measure"]): row for row in tables.summarise(ROWS, by=("label",))}
    distance = summary["prostate", "hausdorff"]
    assert (distance["mean"], distance["n"], distance["n_missing"]) == (4.0, 1, 2)
    assert np.isnan(distance["std"])
    nothing = summary["bladder", "hausdorff"]
    assert np.isnan(nothing["mean"])
    assert (nothing["n"], nothing["n_missing"]) == (0, 1)


def test_measures_of_one_group_do_not_appear_in_another():
    rows = [{"task": "ct", "mae": 30.0}, {"task": "organs", "dice": 0.5}]
    assert [(r["task"], r["measure"]) for r in tables.summarise(rows, by=("task",))] == [
        ("ct", "mae"),
        ("organs", "dice"),
    ]
    only = tables.summarise(ROWS, by=(), measures=("dice",))
    assert [(row["measure"], row["n"]) for row in only] == [("dice", 4)]


def test_csv_files_read_back_as_written(tmp_path):
    rows = [*ROWS, {"subject_id": 'd, "odd"', "confusion_matrix": [[1, 0], [0, 2]]}]
    tables.write_csv(tmp_path / "new" / "table.csv", rows)
    with open(tmp_path / "new" / "table.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["subject_id", "label", "dice", "hausdorff", "confusion_matrix"]
    assert float(read[0]["dice"]) == 0.8
    assert (read[1]["hausdorff"], read[2]["hausdorff"], read[3]["hausdorff"]) == ("inf", "nan", "")
    assert (read[4]["subject_id"], read[4]["confusion_matrix"]) == ('d, "odd"', "[[1, 0], [0, 2]]")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    tables.write_csv(path, ROWS)
    before = path.read_text()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(tables.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        tables.write_csv(path, ROWS[:1])
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"mean": 0.8123, "std": 0.0213, "n": 5, "n_missing": 0}, "0.8123 ± 0.0213"),
        ({"mean": 4.2, "std": float("nan"), "n": 1, "n_missing": 2, "n_missed": 2}, "4.2 (2 missed)"),
        ({"mean": 4.2, "std": 1.0, "n": 3, "n_missing": 3, "n_missed": 1}, "4.2 ± 1 (1 missed, 2 undefined)"),
        ({"mean": float("nan"), "std": float("nan"), "n": 0, "n_missing": 2}, "- (2 undefined)"),
    ],
)
def test_a_summary_says_what_it_leaves_out(entry, text):
    assert tables.summary_text(entry) == text
