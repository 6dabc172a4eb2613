"""Matching pursuit against a search of all subsets, and against one made by hand."""

import itertools

import numpy as np
import pytest

from sfgkeras.sharing.matching_pursuit import matching_pursuit


def made_by_hand(rows, count):
    """The algorithm of Tropp, Gilbert, Strauss (2006), with a pseudo-inverse and no vectors of several rows at once."""
    chosen, residuals = [], [row.copy() for row in rows]
    for _ in range(count):
        best, most = None, -1.0
        for place, row in enumerate(rows):
            meeting = sum(abs(float(np.dot(residual, row))) for residual in residuals) / np.sqrt(np.dot(row, row))
            if place not in chosen and meeting > most + 1e-12:
                best, most = place, meeting
        chosen.append(best)
        basis = rows[chosen]
        residuals = [row - row @ np.linalg.pinv(basis) @ basis for row in rows]
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(5))
def test_it_chooses_what_the_algorithm_made_by_hand_chooses(seed):
    rows = np.random.default_rng(seed).normal(size=(9, 12))
    for count in (1, 4, 9):
        chosen, mixture = matching_pursuit(rows, count)
        assert chosen.tolist() == made_by_hand(rows, count)
        np.testing.assert_allclose(mixture, rows @ np.linalg.pinv(rows[chosen]), atol=1e-8)


def test_rows_that_are_mixtures_of_few_are_made_of_them_without_a_rest():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 20))
    rows = np.concatenate([rng.normal(size=(5, 3)) @ basis, basis])
    chosen, mixture = matching_pursuit(rows, 3)
    np.testing.assert_allclose(mixture @ rows[chosen], rows, atol=1e-8)


def test_what_is_left_is_little_more_than_of_the_best_of_all_subsets():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 15)) + 0.1 * rng.normal(size=(8, 15))

    def rest(chosen):
        return np.linalg.norm(rows - rows @ np.linalg.pinv(rows[list(chosen)]) @ rows[list(chosen)])

    best = min(rest(chosen) for chosen in itertools.combinations(range(8), 2))
    chosen, _ = matching_pursuit(rows, 2)
    assert best <= rest(chosen) <= 1.3 * best


def test_rows_of_zeros_are_chosen_last_and_trouble_nobody():
    chosen, mixture = matching_pursuit(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), 2)
    assert 1 in chosen
    assert np.isfinite(mixture).all()
    np.testing.assert_array_equal(mixture[1], chosen == 1)
