import numpy as np
import pytest

from sfgkeras.analysis import surface as surfaces

SPACING = (1.5, 0.7, 3.0)


def brute_force_surface(mask):
    padded = np.pad(mask, 1)
    voxels = []
    for voxel in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                neighbour = voxel + 1
                neighbour[axis] += step
                if not padded[tuple(neighbour)]:
                    voxels.append(tuple(voxel))
    return np.array(sorted(set(voxels)))


def brute_force_distances(first, second, spacing):
    a, b = brute_force_surface(first) * spacing, brute_force_surface(second) * spacing
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return pairs.min(axis=1), pairs.min(axis=0)


def random_blobs(seed, shape=(9, 8, 6)):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=shape), 1.2) for _ in range(2)]
    return [field > np.quantile(field, 0.7) for field in fields]


@pytest.mark.parametrize("seed", range(6))
def test_distances_equal_those_of_all_pairs_of_surface_voxels(seed):
    truth, prediction = random_blobs(seed)
    distances = surfaces.surface_distances(truth, prediction, SPACING)
    forward, backward = brute_force_distances(truth, prediction, SPACING)
    np.testing.assert_allclose(np.sort(distances.to_prediction), np.sort(forward), rtol=1e-6)
    np.testing.assert_allclose(np.sort(distances.to_truth), np.sort(backward), rtol=1e-6)
    both = np.concatenate([forward, backward])
    assert surfaces.average_distance(distances) == pytest.approx(both.mean())
    assert surfaces.hausdorff(distances) == pytest.approx(both.max())
    expected = max(np.percentile(forward, 95), np.percentile(backward, 95))
    assert surfaces.hausdorff95(distances) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_surface_is_that_of_voxels_with_a_face_outside(seed):
    mask = random_blobs(seed)[0]
    mask[0] = True
    np.testing.assert_array_equal(np.argwhere(surfaces.surface(mask)), brute_force_surface(mask))


@pytest.mark.parametrize("seed", range(3))
def test_hausdorff_agrees_with_simpleitk_on_its_own_contours(seed):
    import SimpleITK

    truth, prediction = random_blobs(seed, (20, 18, 12))
    images = []
    for mask in (truth, prediction):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).T.astype(np.uint8))
        image.SetSpacing(SPACING)
        images.append(SimpleITK.BinaryContour(image, fullyConnected=False))
    hausdorff = SimpleITK.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    distances = surfaces.surface_distances(truth, prediction, SPACING)
    assert surfaces.hausdorff(distances) == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)
    directed = (distances.to_prediction.mean() + distances.to_truth.mean()) / 2
    assert directed == pytest.approx(hausdorff.GetAverageHausdorffDistance(), rel=1e-5)


def test_two_shifted_cubes_are_as_far_apart_as_they_were_shifted():
    truth, prediction = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    truth[5:10, 5:10, 5:10] = True
    prediction[5:10, 5:10, 8:13] = True
    distances = surfaces.surface_distances(truth, prediction, (1, 1, 2))
    assert surfaces.hausdorff(distances) == 6
    assert surfaces.hausdorff(surfaces.surface_distances(truth, truth, (1, 1, 2))) == 0


def test_empty_masks_have_no_finite_distance():
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    for measure in (surfaces.average_distance, surfaces.hausdorff, surfaces.hausdorff95):
        assert np.isnan(measure(surfaces.surface_distances(empty, empty, (1, 1, 1))))
        assert measure(surfaces.surface_distances(full, empty, (1, 1, 1))) == np.inf
        assert measure(surfaces.surface_distances(empty, full, (1, 1, 1))) == np.inf


@pytest.mark.parametrize("axis", range(3))
def test_a_single_slice_is_measured_in_its_plane(axis):
    truth, prediction = (blob[..., 0] for blob in random_blobs(1, (12, 10, 3)))
    spacing = list(np.insert([1.5, 0.7], axis, 5.0))
    flat = surfaces.surface_distances(truth, prediction, (1.5, 0.7))
    thick = surfaces.surface_distances(np.expand_dims(truth, axis), np.expand_dims(prediction, axis), spacing)
    for measure in (surfaces.average_distance, surfaces.hausdorff, surfaces.hausdorff95):
        assert measure(flat) == measure(thick)
    forward, _ = brute_force_distances(truth, prediction, (1.5, 0.7))
    np.testing.assert_allclose(np.sort(thick.to_prediction), np.sort(forward), rtol=1e-6)


def test_an_image_of_one_voxel_is_measured_too():
    one = np.ones((1, 1, 1), bool)
    assert surfaces.hausdorff(surfaces.surface_distances(one, one, (1, 1, 1))) == 0


def test_shapes_and_spacings_that_do_not_fit_are_refused():
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match=r"shape \(3, 3, 3\), prediction of shape \(2, 3, 3\)"):
        surfaces.surface_distances(mask, mask[:2], (1, 1, 1))
    with pytest.raises(ValueError, match=r"spacing \(1, 1\) do not fit"):
        surfaces.surface_distances(mask, mask, (1, 1))
