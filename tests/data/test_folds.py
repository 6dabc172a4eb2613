"""Folds: sizes, groups and strata, and the file that keeps them."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.data.folds import make_folds, read_folds, write_folds
from sfgkeras.errors import DataError

IDS = [f"p{number:02d}" for number in range(23)]


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_sizes_differ_by_at_most_one_and_only_ids_and_seed_count(subjects, count, seed):
    ids = [f"s{number}" for number in range(subjects)]
    if subjects < count:
        with pytest.raises(DataError, match=f"of {subjects} subjects cannot be divided into {count} folds"):
            make_folds(ids, count, seed)
        return
    folds = make_folds(ids, count, seed)
    sizes = Counter(folds.values())
    assert set(sizes) == set(range(1, count + 1))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert make_folds(ids[::-1], count, seed) == folds


def test_another_seed_divides_otherwise():
    assert make_folds(IDS, 5, 0) != make_folds(IDS, 5, 1)


def test_groups_stay_together_and_folds_stay_about_as_large():
    groups = {each: f"g{number // 3}" for number, each in enumerate(IDS)}  # seven of three, one of two
    folds = make_folds(IDS, 4, 3, groups)
    assert all(len({folds[each] for each in IDS if groups[each] == name}) == 1 for name in set(groups.values()))
    assert sorted(Counter(folds.values()).values()) == [5, 6, 6, 6]
    with pytest.raises(DataError, match="8 groups of 23 subjects cannot be divided into 9 folds"):
        make_folds(IDS, 9, 3, groups)


def test_a_large_group_and_small_ones_make_folds_of_one_size():
    groups = {f"s{number}": "large" if number < 5 else f"small {number}" for number in range(10)}
    for seed in range(5):
        assert Counter(make_folds(list(groups), 2, seed, groups).values()) == {1: 5, 2: 5}


def test_a_rare_class_is_spread_as_evenly_as_a_usual_one_where_groups_hold_both():
    """Two of four rare ones are of one group; with the other two there are as many in either fold."""
    members = {"v": "aaabb", "w": "aaa", "x": "ab", "y": "ab", "z": "a"}
    strata = {f"{group}{number}": kind for group, kinds in members.items() for number, kind in enumerate(kinds)}
    groups = {each: each[0] for each in strata}
    for seed in range(5):
        folds = make_folds(list(strata), 2, seed, groups, strata)
        assert Counter(folds[each] for each, kind in strata.items() if kind == "b") == {1: 2, 2: 2}


@given(st.integers(0, 30))
@settings(max_examples=20, deadline=None)
def test_strata_are_spread_evenly(seed):
    strata = {each: "rare" if number < 5 else "usual" for number, each in enumerate(IDS)}
    folds = make_folds(IDS, 5, seed, strata=strata)
    assert Counter(folds[each] for each in IDS if strata[each] == "rare") == dict.fromkeys(range(1, 6), 1)
    assert sorted(Counter(folds.values()).values()) == [4, 4, 5, 5, 5]


def test_the_file_gives_back_what_was_written(tmp_path):
    folds = make_folds(IDS, 5, 0)
    write_folds(tmp_path / "new" / "folds.csv", folds)
    assert read_folds(tmp_path / "new" / "folds.csv") == folds
    assert (tmp_path / "new" / "folds.csv").read_text().startswith(f"subject_id,fold\np00,{folds['p00']}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p00,1\n", r"folds.csv:1: the header is not subject_id,fold"),
        ("subject_id,fold\np00,one\n", r"folds.csv:2: 'p00,one' is not of the form 'subject_id,fold'"),
        ("subject_id,fold\np00,1\np00,2\n", r"folds.csv:3: subject 'p00' is there twice"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_folds(tmp_path / "folds.csv")
