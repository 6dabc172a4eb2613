"""Tables of a comparison: means by hand, tests against SciPy on the paired values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel, wilcoxon

from sfgkeras.analysis.comparison import (
    MEAN_LABEL,
    Score,
    add_label_means,
    cell,
    compare_scores,
    comparison_figure,
    headlines,
    main_table,
    markdown_table,
    number_table,
    paired_t,
    quantity_name,
    signed_rank,
)


def scores_of(network, values, measure="dice", task="organs", group="prostate"):
    """Scores of an array `(seeds, subjects)`."""
    return [
        Score(network, seed, task, group, measure, float(value), f"s{subject}")
        for seed, row in enumerate(values)
        for subject, value in enumerate(row)
    ]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.6, 0.8, (5, 8))
    return {
        "sfg": base + 0.05 + rng.normal(0, 0.01, base.shape),
        "hard_sharing": base,
        "single_task": base - 0.1 + rng.normal(0, 0.02, base.shape),
    }


def by_network(rows):
    return {row["network"]: row for row in rows}


def test_means_deviations_and_tests_are_those_of_the_paired_values(values):
    rows = by_network(compare_scores([s for name, array in values.items() for s in scores_of(name, array)]))
    for name, array in values.items():
        assert rows[name]["mean"] == pytest.approx(array.mean())
        assert rows[name]["std"] == pytest.approx(array.mean(axis=1).std(ddof=1))
        assert rows[name]["baseline"] == "hard_sharing"
        assert (rows[name]["seeds"], rows[name]["subjects"]) == (5, 8)
    for name in ("sfg", "single_task"):
        expected = ttest_rel(values[name].mean(axis=1), values["hard_sharing"].mean(axis=1)).pvalue
        assert rows[name]["p_seeds"] == pytest.approx(expected)
        expected = wilcoxon(values[name].mean(axis=0) - values["hard_sharing"].mean(axis=0)).pvalue
        assert rows[name]["p_subjects"] == pytest.approx(expected)
    assert rows["hard_sharing"]["p_seeds"] is None
    assert [name for name, row in rows.items() if row["is_best"]] == ["sfg"]


def test_for_errors_the_smaller_one_is_best(values):
    scores = [s for name, array in values.items() for s in scores_of(name, array, "mae", "ct", "all")]
    rows = by_network(compare_scores(scores))
    assert rows["sfg"]["baseline"] == "single_task"
    assert rows["single_task"]["is_best"]


def test_without_sfg_every_network_is_a_baseline(values):
    scores = [s for name in ("hard_sharing", "single_task") for s in scores_of(name, values[name])]
    assert {row["baseline"] for row in compare_scores(scores)} == {"hard_sharing"}


def test_too_few_pairs_have_no_p():
    assert paired_t({0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.5}) is None
    assert signed_rank({str(i): 1.0 for i in range(5)}, {str(i): 2.0 for i in range(5)}) is None


def test_equal_results_differ_by_chance_for_certain():
    same = {0: 0.5, 1: 0.6, 2: 0.7}
    assert paired_t(same, dict(same)) == 1.0
    assert signed_rank({str(i): 0.1 * i for i in range(7)}, {str(i): 0.1 * i for i in range(7)}) == 1.0


def test_undefined_values_are_left_out():
    scores = [*scores_of("a", [[0.5, 0.7]]), Score("a", 0, "organs", "prostate", "dice", float("nan"), "s9")]
    (row,) = compare_scores(scores)
    assert row["mean"] == pytest.approx(0.6)
    assert row["subjects"] == 2


def test_the_mean_of_labels_is_that_of_each_subject():
    scores = scores_of("a", [[0.5, 0.7]], group="prostate") + scores_of("a", [[0.9, np.nan]], group="rectum")
    means = {s.subject_id: s.value for s in add_label_means(scores) if s.group == MEAN_LABEL}
    assert means == pytest.approx({"s0": 0.7, "s1": 0.7})


def test_a_network_that_misses_an_organ_is_not_scored_on_its_easier_subjects():
    # The sloppy network misses the hardest organ and is close on the rest; the careful one finds all of them.
    careful = scores_of("careful", [[1.0, 2.0, 9.0]], "hausdorff")
    sloppy = scores_of("sloppy", [[1.1, 2.1, np.inf]], "hausdorff")
    rows = by_network(compare_scores(careful + sloppy))
    assert rows["careful"]["mean"] == pytest.approx(1.5)  # over the two subjects that both have
    assert rows["sloppy"]["mean"] == pytest.approx(1.6)
    assert (rows["careful"]["n_missed"], rows["sloppy"]["n_missed"]) == (0, 1)
    assert (rows["careful"]["subjects"], rows["sloppy"]["subjects"]) == (2, 2)
    assert cell(rows["sloppy"]) == "1.60 (1 missed)"
    assert cell(rows["careful"]) == "1.50 (best)"


def test_of_networks_with_equal_means_only_one_that_missed_nothing_is_best():
    rows = by_network(
        compare_scores(
            scores_of("finds all", [[5.0, 5.0]], "hausdorff") + scores_of("misses", [[1.0, np.inf]], "hausdorff")
        )
    )
    assert [name for name, row in rows.items() if row["is_best"]] == ["finds all"]


def test_what_is_undefined_for_all_is_nobodys_failure():
    for measure, value in (("hausdorff", np.nan), ("psnr", np.inf)):
        task, group = ("organs", "prostate") if measure == "hausdorff" else ("ct", "all")
        scores = [
            s for name in ("a", "b") for s in scores_of(name, [[1.0, 2.0, value]], measure, task=task, group=group)
        ]
        assert [row["n_missed"] for row in compare_scores(scores)] == [0, 0]


def test_a_network_that_misses_everything_stays_in_the_table():
    scores = scores_of("a", [[1.0, 2.0]], "hausdorff") + scores_of("b", [[np.inf, np.inf]], "hausdorff")
    rows = by_network(compare_scores(scores))
    assert cell(rows["b"]) == "- (2 missed)"
    assert rows["a"]["n_missed"] == 0


def test_the_mean_of_labels_is_over_labels_that_all_networks_found():
    easy = [s for name in ("a", "b") for s in scores_of(name, [[1.0]], "hausdorff", group="bladder")]
    hard = scores_of("a", [[7.0]], "hausdorff") + scores_of("b", [[np.inf]], "hausdorff")
    rows = {row["network"]: row for row in compare_scores(add_label_means(easy + hard)) if row["label"] == MEAN_LABEL}
    assert rows["a"]["mean"] == rows["b"]["mean"] == 1.0
    assert (rows["a"]["n_missed"], rows["b"]["n_missed"]) == (0, 1)


def test_files_without_a_subject_in_common_keep_their_own():
    scores = [Score(name, 0, "ct", "all", "mae", float(value), f"{name}1") for name, value in (("a", 1), ("b", 2))]
    assert [row["mean"] for row in compare_scores(scores)] == [1.0, 2.0]


def test_points_of_the_figure_are_means_over_what_all_have():
    scores = scores_of("a", [[0.5, 0.9]]) + scores_of("b", [[0.6, np.nan]])
    (axes,) = comparison_figure(scores, "title").axes
    points = [c.get_offsets()[:, 0].tolist() for c in axes.collections if len(c.get_offsets()) == 1]
    assert [0.5] in points
    assert [0.7] not in points


def test_the_main_table_has_a_line_per_network_and_marks_the_best(values):
    scores = [s for name, array in values.items() for s in scores_of(name, array)]
    rows = compare_scores(scores)
    lines = main_table(rows, {"sfg": {"parameters": 1234}})
    assert [line["network"] for line in lines] == list(values)
    text = markdown_table(lines)
    assert "organs prostate Dice ↑" in text
    assert "1,234" in text
    assert f"**{values['sfg'].mean():.3f}" in text.replace("0.7510", "0.751")
    assert headlines(rows) == [("organs", "prostate", "dice")]


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(98.76, 12.3, "99 ± 12"), (0.8123, 0.0123, "0.812 ± 0.012"), (0.5, float("nan"), "0.500"), (431.7, np.nan, "432")],
)
def test_the_deviation_decides_how_many_digits_are_shown(mean, std, text):
    row = {"mean": mean, "std": std, "p_seeds": None, "p_subjects": None, "n_missed": 0, "is_best": False}
    assert cell(row) == text


def test_the_figure_has_a_panel_per_quantity_and_a_point_per_run(values):
    scores = [s for name, array in values.items() for s in scores_of(name, array)]
    figure = comparison_figure(scores, "title")
    (axes,) = figure.axes
    points = [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets()) == 5]
    assert len(points) == 3
    np.testing.assert_allclose(sorted(points[0][:, 0]), sorted(values["sfg"].mean(axis=1)))


@pytest.mark.parametrize(
    ("quantity", "unit", "text"),
    [
        (("ct", "all", "mae"), "HU", "ct MAE [HU] ↓"),
        (("ct", "bone", "psnr"), "dB", "ct bone PSNR [dB] ↑"),
        (("organs", "prostate", "dice"), "", "organs prostate Dice ↑"),
        (("organs", MEAN_LABEL, "jaccard"), "", "organs mean IoU ↑"),
        (("box", "all", "box_giou"), "", "box GIoU ↑"),
        (("organs", "a", "average_distance"), "mm", "organs a average distance [mm] ↓"),
        (("ct", "all", "me"), "HU", "ct ME [HU]"),  # a bias: neither is better
    ],
)
def test_headings_say_what_is_measured_in_what_and_which_way_is_better(quantity, unit, text):
    assert quantity_name(quantity, unit) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "0.500 ± 0.010"),
        ({"p_seeds": 0.049}, "0.500 ± 0.010*"),
        ({"p_seeds": 0.05, "p_subjects": 0.049}, "0.500 ± 0.010+"),
        ({"p_seeds": 0.01, "p_subjects": 0.01, "n_missed": 2, "is_best": True}, "0.500 ± 0.010*+ (2 missed) (best)"),
        ({"p_subjects": 0.05}, "0.500 ± 0.010"),
    ],
)
def test_cells_are_marked_below_a_p_of_one_in_twenty(changes, text):
    row = {"mean": 0.5, "std": 0.01, "p_seeds": None, "p_subjects": None, "n_missed": 0, "is_best": False}
    assert cell(row | changes) == text


def test_tables_as_numbers_have_what_the_texts_have_and_nothing_for_what_is_not_there(values):
    scores = [s for name in ("sfg", "hard_sharing") for s in scores_of(name, values[name])]
    scores += scores_of("sfg", values["sfg"] * 100, "mae", "ct", "all")
    rows = compare_scores(scores)
    lines = number_table(rows, {"sfg": {"parameters": 12}}, {"hard_sharing": {"width": 0.5}}, ("dice", "mae"))
    assert [list(line) for line in lines] == [
        ["network", "organs prostate dice", "organs prostate dice std", "ct mae", "ct mae std", "parameters"],
        ["network", "width", "organs prostate dice", "organs prostate dice std", "ct mae", "ct mae std"],
    ]
    of_seeds = values["sfg"].mean(axis=1)
    assert lines[0]["organs prostate dice"] == pytest.approx(of_seeds.mean())
    assert lines[0]["organs prostate dice std"] == pytest.approx(of_seeds.std(ddof=1))
    assert lines[1]["ct mae"] is None
    assert main_table(rows, {}, measures=("mae",))[1] == {"network": "hard_sharing", "ct MAE ↓": "-"}


def test_markdown_has_a_column_for_whatever_a_line_brings_up():
    text = markdown_table([{"a": 1234, "b": 0.123456}, {"a": "0.5 (best)", "c": "x"}])
    assert text.splitlines() == ["| a | b | c |", "|---|---|---|", "| 1,234 | 0.1235 | - |", "| **0.5** | - | x |"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9))
def test_p_values_are_those_of_scipy_on_what_both_have(pairs):
    first = {number: one for number, (one, _) in enumerate(pairs)} | {99: 0.5}
    second = {number: other for number, (_, other) in enumerate(pairs)} | {98: 0.5}
    one, other = np.array(pairs).T
    with np.errstate(all="ignore"):
        found, ranked = paired_t(first, second), signed_rank(first, second)
    assert (found is None) == (len(pairs) < 3)
    assert (ranked is None) == (len(pairs) < 6)
    if found is not None and np.ptp(one - other) > 1e-9:
        assert found == pytest.approx(ttest_rel(one, other).pvalue)
    if found is not None and np.ptp(one - other) == 0:
        assert found == (1.0 if one[0] == other[0] else 0.0)  # all pairs differ alike: for certain, or not at all
    if ranked is not None and (one != other).any():
        assert ranked == pytest.approx(wilcoxon(one - other).pvalue)
