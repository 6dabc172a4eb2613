"""Numbers in cells and on scales as people read them, and tables as pandas reads them."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.analysis.tables import (
    cell_text,
    column_names,
    csv_text,
    is_number,
    read_csv,
    spread_text,
    summarise,
    with_unit,
)
from sfgkeras.analysis.windows import Window, WindowSamples, number_text, settings_of

NAN = float("nan")
FINITE = st.floats(-1e9, 1e9, allow_subnormal=False)


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.81234, 0.0213, "0.812 ± 0.021"),
        (61.87, 2.73, "61.9 ± 2.7"),
        (61.87, 27.3, "62 ± 27"),
        (618.7, 273.0, "619 ± 273"),
        (0.5, 0.00001, "0.5000 ± 0.0000"),  # no more than four digits
        (0.5, 0.0, "0.500 ± 0.000"),
        (0.5, NAN, "0.500"),
        (-61.87, NAN, "-61.9"),
        (12345.6, NAN, "12346"),
        (0.0, NAN, "0.000"),
        (NAN, 1.0, "-"),
        (float("inf"), NAN, "-"),
        (0.5, float("inf"), "0.500"),
    ],
)
def test_a_mean_has_the_digits_that_its_deviation_is_worth(mean, std, text):
    assert spread_text(mean, std) == text


@settings(max_examples=100, deadline=None, derandomize=True)
@given(FINITE, st.floats(1e-2, 1e6))
def test_what_is_shown_is_within_a_twentieth_of_the_deviation(mean, std):
    shown_mean, shown_std = map(float, spread_text(mean, std).split(" ± "))
    assert abs(shown_mean - mean) <= max(0.0501 * std, 0.51 if std >= 10 else 0)
    assert abs(shown_std - std) <= max(0.0501 * std, 0.51 if std >= 10 else 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (NAN, "-"),
        (np.float32("nan"), "-"),
        (np.float32(0.25), "0.25"),
        (0.123456, "0.1235"),
        (123456.0, "1.235e+05"),
        (123456, "123456"),
        (True, "True"),
        ("", ""),
        ("Jörg", "Jörg"),
        (float("-inf"), "-inf"),
    ],
)
def test_cells(value, text):
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), (1.5, True), (np.int16(2), True), (np.float32(2), True), (NAN, True)] + [
        (True, False), ("1", False), (None, False), ([1], False)
    ]
)  # fmt: skip
def test_numbers_are_no_booleans_and_no_texts(value, expected):
    assert is_number(value) == expected


def test_units_stand_behind_headings_where_there_are_any():
    assert (with_unit("mae", "HU"), with_unit("dice", "")) == ("mae [HU]", "dice")


CELLS = st.one_of(st.integers(-1000, 1000), FINITE, st.text("abcü\"', ;\n", max_size=6), st.none())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), CELLS, min_size=1), min_size=1, max_size=5))
def test_a_table_is_read_by_pandas_as_it_was(rows):
    names = column_names(rows)
    assert set(names) == {name for row in rows for name in row}
    assert names[: len(rows[0])] == list(rows[0])
    found = pd.read_csv(
        io.StringIO(csv_text(rows), newline=""), dtype=str, keep_default_na=False, skip_blank_lines=False
    )
    assert list(found.columns) == names
    expected = [["" if row.get(name) is None else str(row[name]) for name in names] for row in rows]
    assert found.to_numpy().tolist() == expected


def test_columns_are_chosen_and_ordered_and_structures_become_json():
    rows = [{"a": 1, "b": {"x": [1, None]}, "c": 3}, {"c": 4}]
    assert csv_text(rows, ["c", "b"]) == 'c,b\n3,"{""x"": [1, null]}"\n4,\n'


def test_an_empty_table_has_no_columns_and_is_read_as_none(tmp_path):
    assert csv_text([]) == "\n"
    path = tmp_path / "x.csv"
    path.write_text("a,b\n", encoding="utf-8")
    assert read_csv(path) == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.one_of(st.none(), FINITE, st.just(NAN), st.just(np.inf))),
        min_size=1,
        max_size=12,
    )
)
def test_summaries_are_those_of_pandas(pairs):
    rows = [{"label": label, "dice": value, "who": "text"} for label, value in pairs]
    found = {row["label"]: row for row in summarise(rows, ["label"])}
    table = pd.DataFrame(rows).astype({"dice": float}).replace([np.inf, -np.inf], np.nan).groupby("label")["dice"]
    expected = table.agg(["mean", "std", "median", "count", "size"])
    assert set(found) == set(expected.index)
    for label, row in expected.iterrows():
        for name in ("mean", "std", "median"):
            np.testing.assert_allclose(found[label][name], row[name], rtol=1e-9, atol=1e-6)
        assert (found[label]["n"], found[label]["n_missing"]) == (row["count"], row["size"] - row["count"])
        assert found[label]["measure"] == "dice"  # texts are not summarised


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (999.4, "999"),
        (999.7, "1,000"),
        (-999.7, "-1,000"),
        (1000, "1,000"),
        (-1024.4, "-1,024"),
        (1234567.8, "1,234,568"),
        (0, "0"),
        (-0.00012, "-0.00012"),
    ],
)
def test_numbers_on_scales_of_colours_have_no_exponent_that_nobody_wants(value, text):
    assert number_text(value) == text


def test_a_window_reaches_as_far_as_nearly_all_values_and_at_least_its_limits():
    samples = WindowSamples()
    samples.add("x", np.arange(10_001.0))
    window = samples.fixed("x", (2000, 3000), "HU")
    np.testing.assert_allclose(window.reach, (10, 9990))
    assert window.texts == ("2,000 HU", "3,000 HU")
    assert samples.fixed("x", (-5, 20_000)).reach == (-5, 20_000)
    assert samples.from_zero("x", 50).limits == (0, 5000)


def test_a_symmetric_window_and_one_of_nothing_but_zeros_have_width():
    samples = WindowSamples()
    samples.add("x", np.zeros(10))
    assert samples.symmetric("x", 99).limits == (-1, 1)
    assert samples.from_zero("x", 99).limits == (0, 1)
    samples.add("y", np.r_[np.full(999, 1.0), -50.0])
    window = samples.symmetric("y", 90)
    assert window.limits == (-1, 1)
    assert window.reach == pytest.approx((-window.reach[1], np.percentile(np.r_[np.full(999, 1.0), 50.0], 99.9)))


def test_windows_become_plain_values_for_a_script():
    import json

    window = Window((0.0, 1.5), (-1.0, 2.0), "mm")
    assert json.loads(json.dumps(settings_of({"a": window}))) == {
        "a": {"limits": [0.0, 1.5], "reach": [-1.0, 2.0], "unit": "mm"}
    }
