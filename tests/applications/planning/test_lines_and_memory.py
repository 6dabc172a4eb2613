"""The file in the making is read back as it was meant, and batch and window shrink until they fit, in that order."""

import configparser
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.planning import machine, memory_fit
from sfgkeras.applications.planning.lines import Lines, listed
from sfgkeras.applications.planning.machine import Machine, find_machine
from sfgkeras.applications.planning.memory_fit import fit_memory, read_lines
from sfgkeras.applications.planning.network_section import Window
from sfgkeras.applications.planning.text import render
from sfgkeras.errors import ConfigError

from .conftest import GIB, drawn, facts_of

NAMES = st.text("abcdefghij_", min_size=1, max_size=8)
SENTENCES = st.tuples(st.text("abc,;:%[]=#é", min_size=1, max_size=12), st.integers(1, 30)).map(
    lambda pair: " ".join([pair[0]] * pair[1])
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        NAMES,
        st.dictionaries(NAMES, st.tuples(st.integers(), SENTENCES), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    st.lists(SENTENCES, max_size=3),
)
def test_reasons_never_become_keys_and_lines_are_short(sections, title):
    lines = Lines()
    for section, keys in sections.items():
        lines.head(section, f"of {section}")
        for key, (value, why) in keys.items():
            lines.add(section, key, value, why)
    text = render(lines, title)
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    assert {name: dict(parser[name]) for name in parser.sections()} == {
        section: {key: str(value) for key, (value, _) in keys.items()} for section, keys in sections.items()
    }
    assert all(len(line) <= 120 for line in text.splitlines())
    comments = "".join(line[1:] for line in text.splitlines() if line.startswith("#"))
    for _, _, _, why in lines.rows():
        assert why[1:].replace(" ", "") in comments.replace(" ", "")


def test_lines_are_added_changed_and_found():
    lines = Lines()
    lines.add("A", "x", True, "first")
    lines.add("A", "y", 0.5)
    lines.change("A", "x", 3, "second")
    assert list(lines.rows()) == [("A", "x", "3", "second"), ("A", "y", "0.5", "")]
    assert (lines.value("A", "y"), lines.value("A", "z"), lines.value("B", "x")) == ("0.5", "", "")
    lines.add("A", "z", False)
    assert lines.value("A", "z") == "no"
    lines.head("B", "nothing yet")
    lines.head("A", "something")  # what is there stays
    assert len(lines.sections["A"]) == 3
    assert lines.sections["B"] == []


def test_lists_have_no_needless_zeros():
    assert listed([1.0, 2.5, 3, "x", 1e-5]) == "1, 2.5, 3, x, 1e-05"


def test_comments_are_sentences():
    lines = Lines()
    lines.add("A", "x", 1, "ends with a colon:")
    assert render(lines, ["title"]) == "# Title.\n\n[A]\n# Ends with a colon:\nx = 1\n"


def planned(batch, size, needed_by, memory, photos=0, monkeypatch=None, path=None):
    """Fits a batch into a memory, where a batch of some windows needs what `needed_by` says; returns what was tried."""
    tried = []

    def needed(lines, facts, batch, size, path):
        tried.append((batch, tuple(size)))
        return needed_by(batch, size)

    monkeypatch.setattr(memory_fit, "_needed", needed)
    image = drawn("X", [np.zeros((4, 4, 1))] * max(photos, 1), photo=bool(photos))
    facts = facts_of([image], [("m", "segmentation", image)], memory=memory)
    lines = Lines()
    lines.add("NETWORK", "batch_size", batch)
    window, fitted = fit_memory(lines, facts, Window(size, "why", 7.0), path)
    assert (window.why, window.slices) == ("why", 7.0)
    assert lines.value("NETWORK", "batch_size") == str(fitted)
    return window.size, fitted, tried, lines.sections["NETWORK"][0].why


def test_the_batch_is_halved_first_then_the_largest_side(monkeypatch, tmp_path):
    # A voxel needs a byte, and a quarter of the memory is for a batch.
    size, batch, tried, why = planned(
        8, (64, 48, 1), lambda b, s: b * np.prod(s), 4 * 500, monkeypatch=monkeypatch, path=tmp_path
    )
    sizes = [(8, 64, 48), (4, 64, 48), (2, 64, 48), (1, 64, 48), (1, 32, 48), (1, 32, 24), (1, 16, 24)]
    assert tried == [(number, (*sides, 1)) for number, *sides in sizes]
    assert (size, batch) == ((16, 24, 1), 1)  # 384 bytes
    assert why.endswith("; 8 would be usual")


def test_what_fits_stays_and_what_never_fits_ends(monkeypatch, tmp_path):
    size, batch, tried, why = planned(8, (64, 48, 1), lambda *_: 500, 2000, monkeypatch=monkeypatch, path=tmp_path)
    assert (size, batch, len(tried)) == ((64, 48, 1), 8, 1)
    assert "would be usual" not in why
    size, batch, *_ = planned(8, (64, 48, 1), lambda *_: 501, 2000, monkeypatch=monkeypatch, path=tmp_path)
    assert (size, batch) == ((16, 12, 1), 1)


@pytest.mark.parametrize(("photos", "batch"), [(3, 3), (8, 8), (20, 8)])
def test_no_batch_has_more_photos_than_there_are(photos, batch, monkeypatch, tmp_path):
    _, found, _, why = planned(8, (64, 64, 1), lambda *_: 0, GIB, photos, monkeypatch=monkeypatch, path=tmp_path)
    assert found == batch
    assert (f"; there are {photos} photos" in why) == (photos < 8)


def test_a_trial_leaves_no_file_behind_even_where_it_fails(tmp_path):
    lines = Lines()
    lines.add("NETWORK", "name", "no_such_network")
    with pytest.raises(ConfigError):
        read_lines(lines, tmp_path / "run.ini")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("24000\n16000\n", Machine(16000 << 20, True)),  # the smallest of them
        ("", Machine(12345, False)),
        ("[N/A]\n", Machine(12345, False)),
        (None, Machine(12345, False)),
    ],
)
def test_a_gpu_counts_where_its_tool_tells_its_memory(output, expected, monkeypatch):
    def run(command, **settings):
        if output is None:
            raise subprocess.TimeoutExpired(command, 20)
        return subprocess.CompletedProcess(command, 0, output)

    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    monkeypatch.setattr(machine, "total_memory", lambda: 12345)
    monkeypatch.setattr(subprocess, "run", run)
    assert find_machine() == expected


def test_a_machine_that_tells_nothing_has_8_gib_and_a_batch_a_quarter_of_them(monkeypatch):
    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    monkeypatch.setattr(machine, "total_memory", lambda: 0)
    found = find_machine()
    assert (found.memory, found.budget) == (8 * GIB, 2 * GIB)
    assert found.describe() == "no GPU, and a processor with 8.0 GiB"
    assert Machine(int(1.5 * GIB), True).describe() == "a GPU with 1.5 GiB"
