import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from sfgkeras.data.nifti import read_image, read_label_map, reorient
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.resampling import (
    parallel_grid,
    resample_labels_like,
    resample_labels_to_spacing,
    resample_like,
    resample_to_spacing,
    spacing_grid,
)

DIRECTIONS = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "PIR": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
    "oblique": Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix(),
}
INTERPOLATORS = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 2: sitk.sitkBSpline2, 3: sitk.sitkBSpline3}


def affine_of(direction, spacing, origin=(3.0, -7.0, 11.0)):
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[direction] @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def to_itk(array, affine):
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def itk_resampled(array, affine, shape, reference_affine, order, fill=0.0):
    """SimpleITK's own resampling between two images that carry their geometry."""
    reference = to_itk(np.zeros(shape, np.float32), reference_affine)
    result = sitk.Resample(to_itk(array, affine), reference, sitk.Transform(), INTERPOLATORS[order], fill)
    return sitk.GetArrayFromImage(result).T


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(20, 24, 17)).astype(np.float32)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_new_spacing_gives_what_simpleitk_gives_on_the_same_grid(noise, direction, order):
    affine = affine_of(direction, (1.1, 0.9, 2.3))
    resampled, new_affine = resample_to_spacing(noise, affine, (0.7, 1.31, 1.9), order, antialias=False)
    assert resampled.dtype == np.float32
    expected = itk_resampled(noise, affine, resampled.shape, new_affine, order)
    np.testing.assert_allclose(resampled, expected, atol=5e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("moving", DIRECTIONS)
@pytest.mark.parametrize("fixed", ["RAS", "PIR"])
def test_a_reference_grid_gives_what_simpleitk_gives(noise, order, moving, fixed):
    affine = affine_of(moving, (1.1, 0.9, 2.3))
    reference = affine_of(fixed, (1.03, 1.27, 0.97), affine @ np.array([4.1, 5.2, 3.3, 1]) @ np.eye(4)[:, :3])
    shape = (15, 18, 21)
    resampled = resample_like(noise, affine, shape, reference, order, fill=-5, antialias=False)
    np.testing.assert_allclose(resampled, itk_resampled(noise, affine, shape, reference, order, -5.0), atol=5e-6)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("memory", ["C", "F"])
def test_identity_is_identity(noise, order, direction, memory):
    affine = affine_of(direction, (1.1, 0.9, 2.3))
    volume = np.array(noise, order=memory)
    resampled, new_affine = resample_to_spacing(volume, affine, (1.1, 0.9, 2.3), order)
    np.testing.assert_array_equal(resampled, volume)
    np.testing.assert_allclose(new_affine, affine, atol=1e-12)
    assert not np.shares_memory(resampled, volume)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("spacing", [0.8, 2.1, (1.0, 2.5, 0.6)])
def test_blobs_stay_at_their_place_in_the_scanner(direction, order, spacing):
    shape, affine = (40, 36, 30), affine_of(direction, (1.2, 1.0, 1.7))
    centre = affine @ np.array([18.3, 16.8, 14.1, 1.0])

    def positions(array, geometry):
        grid = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1)
        return grid @ geometry[:3, :3].T + geometry[:3, 3]

    distance = np.linalg.norm(positions(np.empty(shape), affine) - centre[:3], axis=-1)
    blob = np.exp(-0.5 * (distance / 5) ** 2)
    resampled, new_affine = resample_to_spacing(blob, affine, spacing, order)
    found = np.average(positions(resampled, new_affine).reshape(-1, 3), axis=0, weights=resampled.ravel())
    assert np.linalg.norm(found - centre[:3]) < 0.1 * min(1.0, np.min(spacing))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_new_grid_covers_the_same_box(direction):
    affine = affine_of(direction, (2.0, 2.0, 3.0))
    shape, new_affine = spacing_grid((10, 12, 8), affine, 1.0)
    assert shape == (20, 24, 24)
    for corner in ((-0.5, -0.5, -0.5, 1), (1, 1, 1, 1)):
        old = affine @ np.array([*(np.array([10, 12, 8]) - 0.5), 1]) if corner[0] == 1 else affine @ corner
        new = new_affine @ np.array([19.5, 23.5, 23.5, 1]) if corner[0] == 1 else new_affine @ corner
        np.testing.assert_allclose(new, old, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("ratio", [0.3, 1.9, 2.0, 2.5, 40.0])
def test_no_border_voxel_of_a_new_spacing_falls_outside(length, ratio):
    volume = np.full((length, 4, 4), 7.0)
    resampled, _ = resample_to_spacing(volume, np.eye(4), (ratio, None, None), order=1)
    np.testing.assert_allclose(resampled, 7, atol=1e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_going_down_does_not_fold_fine_stripes_into_coarse_ones(order):
    stripes = np.broadcast_to(np.where(np.arange(96) % 2, 1.0, -1.0)[:, None, None], (96, 6, 6))
    plain, _ = resample_to_spacing(stripes, np.eye(4), (3.0, None, None), order, antialias=False)
    smooth, _ = resample_to_spacing(stripes, np.eye(4), (3.0, None, None), order)
    assert np.abs(plain).max() > 0.9
    assert np.abs(smooth[2:-2]).max() < 0.05


def test_going_down_on_an_oblique_grid_is_blurred_as_on_a_parallel_one():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(36, 36, 36)).astype(np.float32)
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("z", 1e-3).as_matrix() * 3
    turned[:3, 3] = 1
    straight = np.diag([3.0, 3, 3, 1])
    straight[:3, 3] = 1
    assert parallel_grid(turned, (12, 12, 12)) is None
    oblique = resample_like(noise, np.eye(4), (12, 12, 12), turned, 1)
    parallel = resample_like(noise, np.eye(4), (12, 12, 12), straight, 1)
    assert np.corrcoef(oblique.ravel(), parallel.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("spacing", "shape"), [((3, 1, 1), (12, 30, 24)), ((1, 2.5, 4), (30, 12, 6))])
@pytest.mark.parametrize("turned", [False, True], ids=["along", "axes swapped"])
def test_an_oblique_grid_is_blurred_along_the_axes_that_its_voxels_span(order, spacing, shape, turned):
    noise = np.random.default_rng(5).normal(size=(36, 36, 36)).astype(np.float32)
    straight = np.diag([*spacing, 1.0])
    straight[:3, 3] = 2
    if turned:
        straight = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]) @ straight
    oblique = straight.copy()
    oblique[:3, :3] = Rotation.from_euler("xyz", [1e-4, 3e-4, 2e-4]).as_matrix() @ straight[:3, :3]
    assert parallel_grid(oblique, shape) is None
    expected = resample_like(noise, np.eye(4), shape, straight, order)
    found = resample_like(noise, np.eye(4), shape, oblique, order)
    sharp = resample_like(noise, np.eye(4), shape, straight, order, antialias=False)
    inside = (slice(1, -1),) * 3
    assert np.abs(found - expected)[inside].max() < 0.05
    assert found[inside].std() == pytest.approx(expected[inside].std(), rel=0.01)
    assert expected.std() < 0.7 * sharp.std()


def test_every_channel_is_resampled_by_itself(noise):
    affine = affine_of("LPS", (1.1, 0.9, 2.3))
    both = np.stack([noise, 2 * noise], axis=-1)
    resampled, _ = resample_to_spacing(both, affine, 1.5, 3)
    alone, _ = resample_to_spacing(noise, affine, 1.5, 3)
    np.testing.assert_allclose(resampled[..., 0], alone, atol=1e-6)
    np.testing.assert_allclose(resampled[..., 1], 2 * alone, atol=1e-6)


def test_voxels_outside_get_the_fill_value_and_labels_keep_their_type():
    labels = np.ones((4, 4, 4), dtype=np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = -2
    result = resample_like(labels, np.eye(4), (8, 4, 4), shifted, order=0, fill=9)
    assert result.dtype == np.uint8
    assert result[:, 0, 0].tolist() == [9, 9, 1, 1, 1, 1, 9, 9]


def ball(shape, affine, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = grid @ affine[:3, :3].T + affine[:3, 3]
    centre = affine @ np.array([*(np.array(shape) / 2), 1])
    return np.linalg.norm(points - centre[:3], axis=-1) < radius


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("method", ["nearest", "linear"])
@pytest.mark.parametrize("spacing", [0.9, 1.9])
def test_labels_keep_their_volume_within_two_percent_and_invent_nothing(direction, method, spacing):
    shape, affine = (48, 48, 32), affine_of(direction, (1.0, 1.1, 1.5))
    labels = np.where(ball(shape, affine, 20), 3, 0).astype(np.int16)
    labels[ball(shape, affine, 12)] = 7
    resampled, new_affine = resample_labels_to_spacing(labels, affine, spacing, method)
    assert resampled.dtype == np.int16
    assert set(np.unique(resampled)) == {0, 3, 7}
    for label in (3, 7):
        old = np.sum(labels == label) * abs(np.linalg.det(affine[:3, :3]))
        new = np.sum(resampled == label) * abs(np.linalg.det(new_affine[:3, :3]))
        assert new == pytest.approx(old, rel=0.02)


def test_linear_labels_outside_of_the_volume_are_the_fill_and_ties_go_to_the_lower_label():
    labels = np.full((4, 4, 4), 3, np.uint8)
    labels[:, :, 2:] = 5
    moved = np.eye(4)
    moved[2, 3] = 0.5  # every new centre lies half way between two old ones
    moved[0, 3] = -2
    found = resample_labels_like(labels, np.eye(4), (4, 4, 3), moved, "linear", fill=9)
    assert (found[:2] == 9).all()
    np.testing.assert_array_equal(found[2:, :, :], np.broadcast_to([3, 3, 5], (2, 4, 3)))


def test_the_label_grid_of_a_spacing_is_the_images_grid(noise):
    affine = affine_of("oblique", (1.1, 0.9, 2.3))
    image, image_affine = resample_to_spacing(noise, affine, 1.37, 1)
    labels, label_affine = resample_labels_to_spacing((noise > 0).astype(np.uint8), affine, 1.37)
    assert labels.shape == image.shape
    np.testing.assert_array_equal(label_affine, image_affine)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"volume": np.zeros((3, 3))}, DataError, r"got shape \(3, 3\)"),
        ({"volume": np.full((3, 3, 3), np.nan)}, DataError, "27 of 27 voxels are not finite"),
        ({"affine": np.zeros((4, 4))}, DataError, "affine is singular"),
        ({"affine": np.eye(3)}, DataError, "finite 4 x 4 matrix"),
        ({"spacing": 0}, ConfigError, "spacing = 0 must be positive"),
        ({"spacing": (1, 1)}, ConfigError, "has 2 numbers"),
        ({"order": 7}, ConfigError, "order = 7 does not exist"),
    ],
)
def test_what_cannot_be_resampled_is_refused(change, error, reason):
    arguments = {"volume": np.zeros((3, 3, 3)), "affine": np.eye(4), "spacing": 1.0, "order": 1} | change
    with pytest.raises(error, match=reason):
        resample_to_spacing(**arguments)


def test_a_float_label_map_and_an_unknown_method_are_refused():
    with pytest.raises(DataError, match="holds integers, got float64"):
        resample_labels_like(np.zeros((3, 3, 3)), np.eye(4), (3, 3, 3), np.eye(4))
    with pytest.raises(ConfigError, match="method 'cubic' does not exist"):
        resample_labels_like(np.zeros((3, 3, 3), int), np.eye(4), (3, 3, 3), np.eye(4), "cubic")


@pytest.mark.real_data
def test_labels_stored_in_another_orientation_land_on_the_right_voxels(real_data):
    folder = real_data / "mr_pelvis"
    image = read_image(folder / "ProstateX-0000_t2tra.nii.gz")
    lesion = read_label_map(folder / "ProstateX-0000_lesion_src.nii.gz")
    assert image.header.axcodes != lesion.header.axcodes
    placed = resample_labels_like(lesion.array, lesion.affine, image.array.shape, image.affine)
    flipped, flipped_affine = reorient(lesion.array, lesion.affine, image.header.axcodes)
    np.testing.assert_allclose(flipped_affine, image.affine, atol=1e-2)
    np.testing.assert_array_equal(placed, flipped)
    assert placed.sum() == lesion.array.sum() > 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ProstateX-0000_t2cor", "ProstateX-0000_adc", "ProstateX-0000_pd"])
def test_real_oblique_series_land_on_each_other_as_with_simpleitk(real_data, name):
    image = read_image(real_data / "mr_pelvis" / f"{name}.nii.gz")
    reference = read_image(real_data / "mr_pelvis" / "nnunet_ProstateX-0000_0000.nii.gz")
    placed = resample_like(image.array, image.affine, reference.array.shape, reference.affine, 1, antialias=False)
    expected = itk_resampled(image.array, image.affine, reference.array.shape, reference.affine, 1)
    # Headers keep directions in float32: a voxel on the very border may be inside for one, not the other.
    assert np.mean(np.abs(placed - expected) > 1e-2) < 1e-3
    assert placed.max() > 100
