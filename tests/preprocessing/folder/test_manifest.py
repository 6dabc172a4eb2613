"""The manifest: one row per subject, whatever happened to the run that wrote it."""

import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.folder.manifest import COLUMNS, Manifest, Record

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\x00"), max_size=12)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_whatever_names_and_messages_hold_is_read_as_it_was_written(tmp_path, rows):
    path = tmp_path / "m.csv"
    path.unlink(missing_ok=True)
    manifest = Manifest(path)
    records = [Record(name, "done", input=place, message=message) for name, place, message in rows]
    for record in records:
        manifest.add(record)
    assert Manifest(path).records == {record.subject_id: record for record in records}
    manifest.compact()
    found = Manifest(path).records
    assert found == {record.subject_id: record for record in records}
    assert list(found) == sorted(found)


def test_the_last_row_of_a_subject_counts_and_compacting_leaves_no_other(tmp_path):
    path = tmp_path / "m.csv"
    manifest = Manifest(path)
    assert not path.exists(), "it is made with the first row"
    for name, status in (("b", "failed"), ("a", "done"), ("b", "done")):
        manifest.add(Record(name, status, seconds="1.5"))
    with path.open(newline="") as stream:
        assert [row[:2] for row in csv.reader(stream)] == [
            list(COLUMNS[:2]), ["b", "failed"], ["a", "done"], ["b", "done"]
        ]  # fmt: skip
    assert {name: record.status for name, record in Manifest(path).records.items()} == {"a": "done", "b": "done"}
    manifest.compact()
    with path.open(newline="") as stream:
        assert [row[:2] for row in csv.reader(stream)] == [list(COLUMNS[:2]), ["a", "done"], ["b", "done"]]


@pytest.mark.parametrize("cut", range(1, 35, 3))
def test_what_a_run_adds_after_one_that_was_killed_in_a_row_is_kept(cut, tmp_path):
    """Its first row must not go on where the half row of the killed run ends, also not within its quotes."""
    path = tmp_path / "m.csv"
    first = Manifest(path)
    first.add(Record("a", "done", message="x"))
    first.add(Record("b", "done", message='one, "two", three'))
    path.write_bytes(path.read_bytes()[:-cut])
    second = Manifest(path)
    second.add(Record("c", "done", message="late"))
    second.add(Record("d", "failed"))
    found = Manifest(path).records
    assert {"a", "c", "d"} <= set(found) <= {"a", "b", "c", "d"}
    assert (found["c"].message, found["d"].status) == ("late", "failed")


def test_a_file_of_something_else_is_no_manifest(tmp_path):
    path = tmp_path / "m.csv"
    for text in ("a,b\n1,2\n", ",".join(COLUMNS[:-1]) + "\n", "\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"m\.csv: is no manifest of this version; move it away, or choose another"):
            Manifest(path)


def test_a_manifest_that_cannot_be_written_names_its_place(tmp_path):
    manifest = Manifest(tmp_path / "gone" / "m.csv")
    with pytest.raises(DataError, match=r"m\.csv: cannot be written, .*gone is no folder"):
        manifest.add(Record("a", "done"))
