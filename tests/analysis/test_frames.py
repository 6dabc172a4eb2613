"""Tables as data frames: types, round trips through our files, and statistics against the tables that we write."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from sfgkeras.analysis.frames import frame, read_frame, statistics, write_frame
from sfgkeras.analysis.tables import read_csv, summarise, write_csv
from sfgkeras.data.subjects import read_split, write_split
from sfgkeras.errors import DataError

ROWS = [
    {"subject_id": "007", "label": "1", "dice": 0.1 + 0.2, "count": 3, "chosen": True, "box": [1, 2], "note": "a,b"},
    {"subject_id": "008", "label": "2", "dice": math.nan, "count": 4, "chosen": False, "box": None, "note": 'say "x"'},
    {"subject_id": "NA", "label": "2", "dice": math.inf, "count": 5, "chosen": True, "box": [], "note": ""},
]


def test_a_table_that_we_wrote_is_read_with_its_types_and_not_a_digit_less(tmp_path):
    write_csv(tmp_path / "a.csv", ROWS)
    found = read_frame(tmp_path / "a.csv")
    assert found["subject_id"].tolist() == ["007", "008", "NA"]
    assert found["label"].tolist() == ["1", "2", "2"]
    assert found["dice"][0] == 0.1 + 0.2
    assert np.isnan(found["dice"][1])
    assert np.isinf(found["dice"][2])
    assert found["count"].dtype == np.int64
    assert found["chosen"].dtype == bool
    assert found["box"].tolist() == [[1, 2], "", []]
    assert found["note"].tolist() == ["a,b", 'say "x"', ""]


def test_a_frame_is_written_as_our_tables_are_and_read_back_equal(tmp_path):
    write_csv(tmp_path / "ours.csv", ROWS)
    found = read_frame(tmp_path / "ours.csv")
    write_frame(tmp_path / "new" / "theirs.csv", found)
    assert (tmp_path / "new" / "theirs.csv").read_text() == (tmp_path / "ours.csv").read_text()
    pd.testing.assert_frame_equal(read_frame(tmp_path / "new" / "theirs.csv"), found)


def test_a_split_made_as_a_frame_is_the_split_that_a_run_reads(tmp_path):
    table = pd.DataFrame({"subject_id": ["01", "02"], "phase": ["training", "inference"]})
    write_frame(tmp_path / "split.csv", table, header=False)
    assert read_split(tmp_path / "split.csv")["training"] == ["01"]
    write_split(tmp_path / "again.csv", {"training": ["01"], "inference": ["02"]})
    pd.testing.assert_frame_equal(read_frame(tmp_path / "again.csv", ("subject_id", "phase")), table)


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    (tmp_path / "a.csv").write_text("subject_id,mae\n")
    assert list(read_frame(tmp_path / "a.csv").columns) == ["subject_id", "mae"]
    assert frame([], ["a"]).empty


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such table"), (b"a,b\n1\n", "1 cells, not 2: 1"), (b"\xff\xfe", "read")],
)
def test_a_file_that_is_no_table_is_a_clear_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: .*{message}"):
        read_frame(tmp_path / "a.csv")


def test_statistics_are_those_of_the_tables_that_evaluation_writes():
    rng = np.random.default_rng(0)
    rows = [
        {"subject_id": str(number), "label": label, "dice": math.inf if number == 2 else float(rng.random())}
        for number in range(7)
        for label in ("a", "b")
    ]
    expected = summarise(rows, ["label"], ["dice"])
    found = statistics(pd.DataFrame(rows), ["label"], "dice")
    for row, (_, line) in zip(expected, found.iterrows(), strict=True):
        assert line["label"] == row["label"]
        for name in ("mean", "std", "median", "n", "n_missing"):
            assert line[name] == pytest.approx(row[name], rel=1e-12), name
    with pytest.raises(DataError, match="no column 'labl', did you mean 'label'"):
        statistics(pd.DataFrame(rows), ["labl"], "dice")


def test_no_verb_starts_more_slowly_for_pandas(tmp_path):
    write_csv(tmp_path / "a.csv", ROWS)
    code = f"""
import sys
import sfgkeras.cli, sfgkeras.runs, sfgkeras.analysis.frames, sfgkeras.applications.check, sfgkeras.analysis.tables
assert not {{"pandas", "tensorflow", "keras", "matplotlib.pyplot", "nibabel.nifti1.x"}} & set(sys.modules)
sfgkeras.analysis.frames.read_frame({str(tmp_path / "a.csv")!r})
assert "pandas" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(read_csv(tmp_path / "a.csv")) == 3
