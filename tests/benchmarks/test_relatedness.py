"""Two pairs of related tasks: how it is judged whether a mechanism has found them, and that one can be trained."""

import numpy as np
import pytest


@pytest.fixture
def relatedness(load_benchmark):
    return load_benchmark("relatedness")


def matrix_of(**pairs):
    matrix = np.eye(4)
    for name, value in pairs.items():
        first, second = map(int, name.removeprefix("pair_"))
        matrix[first, second] = value
    return matrix


def test_a_pairing_is_found_that_shares_more_within_its_pairs_than_any_other(relatedness):
    matrix = matrix_of(pair_01=0.8, pair_10=0.4, pair_23=0.2, pair_02=0.5, pair_20=0.5)
    # (0.6 + 0.1) / 2 against 0.5 / 2 and nothing.
    np.testing.assert_allclose(relatedness.sharing_of_pairings(matrix), [0.35, 0.25, 0.0])
    assert relatedness.is_found(matrix)
    assert not relatedness.is_found(matrix[[0, 2, 1, 3]][:, [0, 2, 1, 3]])


@pytest.mark.parametrize("matrix", [np.eye(4), np.ones((4, 4)), np.eye(4) / 2 + np.array([[0.5], [0.1], [0.3], [0.2]])])
def test_a_matrix_that_tells_no_tasks_apart_has_found_nothing(relatedness, matrix):
    assert not relatedness.is_found(matrix)


def test_the_table_counts_runs_against_chance(relatedness):
    pairs, nothing = matrix_of(pair_01=0.4, pair_10=0.4, pair_23=0.4, pair_32=0.4), np.eye(4)
    runs = [
        {"mechanism": "tree", "matrix": matrix.tolist(), "accuracy": {"a": 0.5, "b": 1.0}}
        for matrix in (pairs, pairs, nothing)
    ]
    (line,) = relatedness.findings(runs)
    assert line["pairs found"] == "2 of 3"
    # 3 (1/3)^2 (2/3) + (1/3)^3
    assert line["p"] == "0.26"
    assert (line["shared within pairs"], line["between pairs"], line["accuracy"]) == ("0.267", "0.000", "0.750")


def test_images_hold_what_the_tasks_ask_for(relatedness):
    images, classes = relatedness.draw_images(np.random.default_rng(0), 400)
    assert images.shape == (400, 12, 12, 1)
    # A fine grating changes its sign more often than a coarse one along its axis.
    flips = np.abs(np.diff(np.sign(images[..., 0] - np.median(images)), axis=1)).sum(axis=(1, 2))
    steep = classes["steep"] == 1
    assert flips[steep & (classes["fine"] == 1)].mean() > 1.2 * flips[steep & (classes["fine"] == 0)].mean()
    # A hollow glyph covers less.
    assert images[classes["hollow"] == 0].mean() > images[classes["hollow"] == 1].mean() + 0.05


@pytest.mark.slow
def test_a_network_is_trained_and_asked(relatedness):
    found = relatedness.train("cross_stitch", 0, 20)
    assert np.shape(found["matrix"]) == (4, 4)
    assert set(found["accuracy"]) == set(relatedness.TASKS)
