"""Tables of a comparison: means by hand, tests against SciPy on the paired values."""

import numpy as np
import pytest
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
    paired_t,
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
