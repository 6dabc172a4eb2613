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
        {"mechanism": "tree", "matrix": matrix.tolist(), "explained": {"a": 0.5, "b": 1.0}}
        for matrix in (pairs, pairs, nothing)
    ]
    (line,) = relatedness.findings(runs)
    assert line["pairs found"] == "2 of 3"
    # 3 (1/3)^2 (2/3) + (1/3)^3
    assert line["p"] == "0.26"
    assert (line["shared within pairs"], line["between pairs"], line["variance explained"]) == (
        "0.267",
        "0.000",
        "0.750",
    )


def test_tasks_of_a_pair_have_filters_alike_and_noisy_images_in_common(relatedness):
    rng = np.random.default_rng(0)
    filters = relatedness.draw_filters(rng)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=(0, 1)), 1)
    alike = np.einsum("xyi,xyj->ij", filters, filters)
    # cos of two vectors of 1 and 0.3 at right angles: 1 / (1 + 0.09), but for chance.
    assert [alike[0, 1], alike[2, 3]] == pytest.approx([1 / 1.09] * 2, abs=0.2)
    assert np.abs(alike[:2, 2:]).max() < 0.4
    images, maps = relatedness.draw_images(rng, filters, 300)
    assert images.shape == maps["first"].shape == (300, 12, 12, 1)
    answers = np.abs(relatedness.correlate(images, filters))
    noise = np.stack([(maps[name] - answers[..., [i]]).std(axis=(1, 2, 3)) for i, name in enumerate(maps)])
    assert 0.08 < noise.min() < noise.max() < 1.2
    agree = np.corrcoef(noise)
    assert min(agree[0, 1], agree[2, 3]) > 0.98
    assert np.abs(agree[:2, 2:]).max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["cross_stitch", "sfg"])
def test_a_network_is_trained_and_asked(relatedness, mechanism):
    found = relatedness.train(mechanism, 0, 4)
    assert np.shape(found["matrix"]) == (4, 4)
    assert set(found["explained"]) == set(relatedness.TASKS)
