"""The dense random field: against loops over all pairs, against all labellings, and what it does to noise."""

import itertools

import numpy as np
import pytest

from sfgkeras.analysis.random_field import refine

SETTINGS = {
    "appearance_weight": 1.3, "appearance_distance": 1.7, "appearance_contrast": 0.6,
    "smoothness_weight": 0.7, "smoothness_distance": 0.9, "radius": 2,
}  # fmt: skip


def bonds(image, axes, settings):
    """a A_ij + s S_ij of every pair, by loops."""
    places = list(itertools.product(*(range(length) for length in image.shape[:3])))
    found = np.zeros((2, len(places), len(places)))
    for (i, p), (j, q) in itertools.product(enumerate(places), repeat=2):
        step = np.subtract(p, q)
        other = [axis for axis in range(3) if axis not in axes]
        if i == j or np.abs(step).max() > settings["radius"] or step[other].any():
            continue
        look = np.sum((image[p] - image[q]) ** 2) / (2 * settings["appearance_contrast"] ** 2)
        found[0, i, j] = np.exp(-step @ step / (2 * settings["appearance_distance"] ** 2) - look)
        found[1, i, j] = np.exp(-step @ step / (2 * settings["smoothness_distance"] ** 2))
    for kernel in found:
        root = np.sqrt(np.maximum(kernel.sum(axis=1), 1e-12))
        kernel /= root[:, None] * root[None]
    return settings["appearance_weight"] * found[0] + settings["smoothness_weight"] * found[1]


@pytest.mark.parametrize(("shape", "axes"), [((4, 3, 2), (0, 1, 2)), ((3, 2, 4), (0, 2)), ((1, 5, 1), (0, 1))])
def test_an_update_is_that_of_loops_over_all_pairs(shape, axes):
    rng = np.random.default_rng(0)
    image, probabilities = rng.normal(size=(*shape, 2)), rng.dirichlet((1, 1, 1), size=shape)
    pairs, unary = bonds(image, axes, SETTINGS), np.log(probabilities.reshape(-1, 3))
    expected = probabilities.reshape(-1, 3)
    for iterations in (1, 2, 3):
        cost = pairs @ (1 - expected)
        expected = np.exp(unary - cost)
        expected /= expected.sum(axis=-1, keepdims=True)
        found = refine(probabilities, image, axes, iterations=iterations, **SETTINGS)
        np.testing.assert_allclose(found.reshape(-1, 3), expected, atol=1e-6)


def test_marginals_are_near_those_of_all_labellings():
    """Mean-field marginals of weakly bound voxels, against a sum over all 2^9 labellings."""
    rng = np.random.default_rng(1)
    shape, settings = (3, 3, 1), SETTINGS | {"appearance_weight": 0.3, "smoothness_weight": 0.2}
    image, probabilities = rng.normal(size=(*shape, 1)), rng.dirichlet((3, 3), size=shape)
    pairs, unary = bonds(image, (0, 1), settings), np.log(probabilities.reshape(-1, 2))
    total, marginals = 0.0, np.zeros((9, 2))
    for labels in itertools.product((0, 1), repeat=9):
        differ = np.not_equal.outer(labels, labels)
        weight = np.exp(unary[np.arange(9), labels].sum() - (pairs * differ).sum() / 2)
        total += weight
        marginals[np.arange(9), labels] += weight
    found = refine(probabilities, image, (0, 1), iterations=20, **settings)
    np.testing.assert_allclose(found.reshape(-1, 2), marginals / total, atol=0.02)


def test_noise_goes_and_edges_of_the_image_stay():
    rng = np.random.default_rng(2)
    truth = np.zeros((24, 24, 1), int)
    truth[6:17, 8:20] = 1
    image = truth[..., None] + 0.1 * rng.standard_normal((24, 24, 1, 1))
    chance = np.where(truth == 1, 0.62, 0.38) + 0.15 * rng.standard_normal(truth.shape)
    chance = chance.clip(0.02, 0.98)
    found = refine(np.stack([1 - chance, chance], axis=-1), image).argmax(axis=-1)
    assert (truth != (chance > 0.5)).mean() > 0.1
    assert (truth != found).mean() < 0.01


def test_without_bonds_nothing_changes():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet((1, 1), size=(4, 4, 1))
    found = refine(probabilities, np.zeros((4, 4, 1, 1)), appearance_weight=0, smoothness_weight=0)
    np.testing.assert_allclose(found, probabilities, atol=1e-6)
