"""Structural similarity against its definition, written down anew, and against numbers of scikit-image."""

import numpy as np
import pytest

from sfgkeras.analysis.measures import evaluate_regression
from sfgkeras.analysis.similarity import mean_similarity, similarity_map


def by_hand(truth, prediction, data_range, at):
    """Wang et al. 2004, eq. 13, at one voxel, with plain sums."""
    window = tuple(slice(i - 5, i + 6) for i in at)
    gauss = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weight = gauss / gauss.sum()
    for _ in at[1:]:
        weight = np.multiply.outer(weight, gauss / gauss.sum())
    x, y = truth[window] - truth.min(), prediction[window] - truth.min()
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
    cov = (weight * (x - mx) * (y - my)).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


@pytest.fixture
def pair():
    x, y, z = np.meshgrid(np.arange(20.0), np.arange(18.0), np.arange(14.0), indexing="ij")
    truth = 300 * np.sin(x / 3) * np.cos(y / 4) + 20 * z - 200
    prediction = truth + 60 * np.sin(x * y / 5 + z)
    return truth, prediction


def test_the_index_is_its_definition_at_every_voxel(pair):
    data_range = float(np.ptp(pair[0]))
    found = similarity_map(*pair, data_range)
    for at in ((5, 5, 5), (9, 8, 7), (14, 12, 8)):
        assert found[at] == pytest.approx(by_hand(*pair, data_range, at), abs=1e-6)
    assert np.isnan(found[4, 8, 7])
    assert np.isfinite(found).sum() == 10 * 8 * 4


def test_the_mean_is_that_of_scikit_image(pair):
    # structural_similarity of scikit-image 0.26 (gaussian_weights, sigma 1.5, use_sample_covariance = False) of these
    # volumes less the lowest of the truth: 0.88997871 in 3-D, 0.87204533 as the mean over four slices.
    truth, prediction = pair
    assert mean_similarity(similarity_map(truth, prediction, float(np.ptp(truth)))) == pytest.approx(
        0.88997871, abs=1e-6
    )
    thin = truth[..., :4], prediction[..., :4]
    assert mean_similarity(similarity_map(*thin, float(np.ptp(thin[0])))) == pytest.approx(0.87204533, abs=1e-6)


def test_a_volume_of_few_slices_is_compared_slice_by_slice(pair):
    truth, prediction = (volume[..., :4] for volume in pair)
    data_range = float(np.ptp(truth))
    found = similarity_map(truth, prediction, data_range)
    plane = np.where(np.arange(4) == 2, prediction, truth)  # one slice is wrong, the others are perfect
    of_plane = similarity_map(truth, plane, data_range)
    assert np.nanmin(of_plane[..., 0]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(of_plane[5:-5, 5:-5, 2], found[5:-5, 5:-5, 2], atol=1e-6)


def test_large_volumes_are_done_in_slabs_with_the_same_result(pair, monkeypatch):
    from sfgkeras.analysis import similarity

    whole = similarity.similarity_map(*pair, 600.0)
    monkeypatch.setattr(similarity, "RADIUS", 5)
    tall = [np.concatenate([volume] * 6, axis=0) for volume in pair]
    np.testing.assert_allclose(similarity.similarity_map(*tall, 600.0)[:14], whole[:14], atol=1e-5)


def test_what_is_not_valid_touches_nothing(pair):
    truth, prediction = (volume.copy() for volume in pair)
    valid = np.ones(truth.shape, bool)
    valid[:4] = False
    clean = similarity_map(truth, prediction, 600.0, valid)
    prediction[:4] = 1e6
    truth[:4] = 5e5
    np.testing.assert_array_equal(similarity_map(truth, prediction, 600.0, valid), clean)
    assert np.isnan(clean[8]).all()  # its window reaches plane 3
    assert np.isfinite(clean[9, 8, 7])


def test_undefined_indices_are_nan_and_perfect_ones_are_one(pair):
    truth = pair[0]
    assert mean_similarity(similarity_map(truth, truth, 100.0)) == pytest.approx(1)
    assert np.isnan(mean_similarity(similarity_map(truth, truth, 0.0)))
    assert np.isnan(mean_similarity(similarity_map(truth[:8, :8, :8], truth[:8, :8, :8], 100.0)))


def test_a_region_averages_the_map_where_it_lies(pair):
    truth, prediction = pair
    mask = np.zeros(truth.shape, bool)
    mask[:10] = True
    rows = evaluate_regression(truth, prediction, ("mae", "ssim"), masks={"body": mask})
    found = similarity_map(truth, prediction, float(np.ptp(truth)))
    assert [row["region"] for row in rows] == ["all", "body"]
    assert rows[0]["ssim"] == pytest.approx(np.nanmean(found))
    assert rows[1]["ssim"] == pytest.approx(np.nanmean(found[:10]))
    assert rows[1]["mae"] == pytest.approx(np.abs(prediction - truth)[:10].mean())
