"""Points and boxes move with the window: against images of them that go through the same window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.data.augmentation import Augmentation, Deformation, sampling_matrix
from sfgkeras.data.interpolation import AffineMap, Crop, DenseMap, affine_positions
from sfgkeras.data.inverse import places_showing
from sfgkeras.data.points import (
    Frame,
    box_corners,
    from_fractions,
    hull,
    in_fractions,
    moved_box,
    points_between,
    visible_box,
)
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.samplers import ResizeSampler, Sampler, UniformSampler
from sfgkeras.data.windows import WindowSource
from sfgkeras.errors import ConfigError, DataError


class FixedSampler(Sampler):
    """Cuts every window at one place."""

    def __init__(self, window_size, place):
        super().__init__(window_size)
        self.place = place

    def start(self, subject, rng):
        return np.array(self.place)


def blob(shape, point, sigma=1.5):
    """A Gaussian around a point."""
    squares = sum((grid - value) ** 2 for grid, value in zip(np.indices(shape), point, strict=True))
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


def centre_of(image):
    return np.array([(grid * image).sum() / image.sum() for grid in np.indices(image.shape)])


def learn_points(numbers, to_window, size):
    """The task of these tests: places of the window, in its voxels, `(n, rank)`."""
    return to_window(numbers.reshape(-1, 3))


def learn_box(numbers, to_window, size):
    return visible_box(moved_box(numbers, to_window), size)


ROTATED = Augmentation(rotation_angle=(-60, 60), scaling_percentage=(-20, 25), flip_axes=(0, 1), antialiasing=False)
CASES = {
    "crop": (None, UniformSampler),
    "flips": (Augmentation(flip_axes=(0, 1)), UniformSampler),
    "rotation and scaling": (ROTATED, UniformSampler),
    "elastic": (Augmentation(deformation=Deformation(3, 1.5, 1.0), flip_axes=(0,)), UniformSampler),
    "all and elastic": (
        Augmentation(
            rotation_angle=(-20, 20),
            scaling_percentage=(-10, 10),
            flip_axes=(1,),
            deformation=Deformation(3, 1.0, 1.0),
            bias_field_range=(-0.1, 0.1),
            antialiasing=False,
        ),
        UniformSampler,
    ),
    "resize": (None, ResizeSampler),
    "resize and rotation": (ROTATED, ResizeSampler),
}


@pytest.mark.parametrize("window", [(28, 30, 1), (26, 24, 22)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("case", CASES)
def test_a_point_lies_where_the_window_shows_a_blob_around_it(case, window):
    augmentation, sampler = CASES[case]
    shape, spacing = (36, 40, 1 if window[2] == 1 else 30), (1.0, 1.3, 1.7)
    rng = np.random.default_rng(7)
    compared = 0
    for number in range(12):
        point = np.array([rng.uniform(0.4, 0.6) * n if n > 1 else 0.0 for n in shape])
        flat = [slice(None), slice(None)] + ([0] if window[2] == 1 else [slice(None)])
        image = blob(np.array(shape)[[f != 0 for f in flat]], point[[f != 0 for f in flat]], sigma=1.5)
        subject = PreparedSubject(
            "p", image.reshape(*shape, 1), {"eye": point, "shown": image.reshape(*shape, 1)}, spacing=spacing
        )
        source = WindowSource(
            [subject], window, sampler(window), augmentation, {"eye": "points", "shown": "map"}, seed=number,
            learn_points={"eye": learn_points},
        )  # fmt: skip
        _, targets, weights = source.window(3)
        rank = source.spatial_rank
        assert source.target_shapes["eye"] == targets["eye"].shape == (1, rank)
        assert source.weight_shapes["eye"] == weights["eye"].shape == (1,)
        assert weights["eye"] == 1
        found, size = targets["eye"][0], np.array(source.image_shape[:-1])
        shown = targets["shown"][..., 0]
        if np.all((found > 6) & (found < size - 7)):  # else the blob is cut
            np.testing.assert_allclose(found, centre_of(shown), atol=0.35 if augmentation and "ela" in case else 0.12)
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize("rank", [2, 3])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_points_that_a_map_reads_are_those_that_it_shows(rank, seed):
    rng = np.random.default_rng(seed)
    size, shape = (9, 11, 7)[:rank], (20, 23, 17)[:rank]
    matrix = sampling_matrix(
        rng.uniform(-180, 180, 1 if rank == 2 else 3),
        rng.uniform(0.5, 2, rank),
        rng.random(rank) < 0.5,
        (1, 1.4, 2)[:rank],
    )
    offset = rng.uniform(-5, 20, rank)
    places = rng.uniform(-3, 14, (6, rank))
    window_map = AffineMap(matrix, offset, size, shape)
    np.testing.assert_allclose(window_map.points(places @ matrix.T + offset), places, atol=1e-8)
    grid = np.stack([p.ravel() for p in np.broadcast_arrays(*affine_positions(matrix, offset, size))], axis=1)
    np.testing.assert_allclose(window_map.points(grid), np.indices(size).reshape(rank, -1).T, atol=1e-8)


@given(seed=st.integers(0, 10**6), flips=st.lists(st.booleans(), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_a_copied_window_shows_a_delta_where_the_map_says(seed, flips):
    rng = np.random.default_rng(seed)
    start, size = rng.integers(0, 6, 2), rng.integers(2, 9, 2)
    image = np.zeros((16, 16, 1), np.float32)
    voxel = start + rng.integers(0, size)
    image[tuple(voxel)] = 1
    window_map, window = Crop(start.tolist(), size.tolist(), flips), np.empty((*size, 1), np.float32)
    window_map.linear(image, window)
    assert window[tuple(window_map.points(voxel[None])[0].astype(int))] == 1
    assert np.isnan(window_map.points(np.full((1, 2), np.nan))).all()


@pytest.mark.parametrize("rank", [2, 3])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_places_of_a_deformed_window_are_found_again(rank, seed):
    rng = np.random.default_rng(seed)
    size = (17, 19, 13)[:rank]
    steps = np.indices(size).astype(float)
    # Waves whose slope stays below 1 / rank, so that no voxel is shown twice.
    waves = [
        np.prod([np.cos(2 * np.pi * steps[a] / 16 + phase) for a, phase in enumerate(rng.uniform(0, 6, rank))], axis=0)
        for _ in range(rank)
    ]
    positions = steps + 0.6 * np.stack(waves) + rng.uniform(-3, 3, (rank,) + (1,) * rank)
    window_map = DenseMap(positions, (40,) * rank)
    corner = [rng.integers(0, n - 1, 5) for n in size]
    shares = rng.random((5, rank))
    places = np.stack(corner, axis=1) + shares
    shown = np.stack([
        [_interpolate(positions[axis], place) for axis in range(rank)] for place in places
    ])  # fmt: skip
    np.testing.assert_allclose(window_map.points(shown), places, atol=1e-3)


def _interpolate(values, place):
    from scipy.ndimage import map_coordinates

    return map_coordinates(values, place[:, None], order=1)[0]


def test_beyond_the_rim_a_deformed_window_goes_on_as_it_is_there():
    steps = np.indices((5, 6)).astype(float)
    positions = 2 * steps + np.array([3.0, 4.0])[:, None, None]
    found = places_showing(positions, np.array([[1.0, 4.0], [3.0, 24.0], [np.nan, 1.0]]))
    np.testing.assert_allclose(found[:2], [[-1, 0], [0, 10]], atol=1e-9)
    assert np.isnan(found[2]).all()


def test_where_the_map_is_folded_a_point_lies_at_one_of_its_places():
    steps = np.indices((9, 9)).astype(float)
    positions = np.stack([np.abs(steps[0] - 4), steps[1]])  # rows 0 and 8 show the same
    found = places_showing(positions, np.array([[4.0, 2.0], [0.0, 3.0]]))
    assert found[0].tolist() in ([0, 2], [8, 2])
    assert found[1].tolist() == [4, 3]


# Boxes


def mask_of(box, shape):
    """The voxels of a box whose edges lie between voxels."""
    low, high = np.split(np.asarray(box) + 0.5, 2)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] = 1
    return mask


def edges_of(mask):
    found = np.argwhere(mask)
    return np.concatenate([found.min(axis=0), found.max(axis=0) + 1]) / np.tile(mask.shape, 2)


def box_window(box, shape, window, sampler, augmentation, seed=0, spacing=(1.0, 1.0, 1.0)):
    subject = PreparedSubject(
        "p", np.zeros((*shape, 1), np.float32), {"box": box, "mask": mask_of(box, shape)}, spacing=spacing
    )
    source = WindowSource(
        [subject], window, sampler, augmentation, {"box": "points", "mask": "labels"}, seed=seed,
        learn_points={"box": learn_box},
    )  # fmt: skip
    _, targets, weights = source.window(0)
    assert targets["box"].shape == source.target_shapes["box"] == (2 * source.spatial_rank,)
    assert weights["box"].shape == ()
    return targets["box"], targets["mask"], weights["box"]


@pytest.mark.parametrize("shape", [(24, 20, 1), (24, 20, 18)], ids=["2-D", "3-D"])
@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_after_crops_flips_and_resizing_a_box_is_the_hull_of_its_mask(shape, data, seed):
    low = [data.draw(st.integers(0, n - 1)) for n in shape]
    high = [data.draw(st.integers(start + 1, n)) for start, n in zip(low, shape, strict=True)]
    box = np.array([*low, *high], float) - 0.5
    window = tuple(min(n, 15) for n in shape)
    flips = Augmentation(flip_axes=(0, 1))
    found, mask, weight = box_window(box, shape, window, UniformSampler(window), flips, seed)
    if mask.any():
        assert weight == 1
        np.testing.assert_allclose(found, edges_of(mask), atol=1e-6)
    else:
        assert weight == 0
        assert not found.any()
    # Twice as large: every voxel becomes two.
    doubled = tuple(2 * n if n > 1 else 1 for n in shape)
    found, mask, weight = box_window(box, shape, doubled, ResizeSampler(doubled), flips, seed)
    assert weight == 1
    np.testing.assert_allclose(found, edges_of(mask), atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 44, 1), (40, 44, 36)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("angle", [0.0, 90.0, 25.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_scaled_and_turned_box_holds_its_mask_and_no_more_than_its_corners_need(shape, angle, seed):
    box = np.array([14, 12, 0, 22, 28, shape[2]], float) - 0.5
    if shape[2] > 1:
        box[[2, 5]] = 9.5, 23.5
    turn = Augmentation(rotation_angle=(angle, angle), scaling_percentage=(-30, 30), flip_axes=(0,))
    found, mask, weight = box_window(box, shape, shape, UniformSampler(shape), turn, seed)
    size = np.tile(mask.shape, 2)
    assert weight == 1
    slack = (found - edges_of(mask)) * size
    half = len(slack) // 2
    # Labels are the nearest voxels', so that edges may be off by one.
    assert np.all(slack[:half] <= 1)
    assert np.all(slack[half:] >= -1)
    if angle != 25.0 or half == 2:
        # In a plane, and by quarters, the hull of the corners is that of the box.
        assert np.abs(slack).max() <= 1


def test_a_box_beyond_the_window_is_not_learned():
    box = np.array([0, 0, 0, 3, 3, 1]) - 0.5
    found, _, weight = box_window(box, (20, 20, 1), (8, 8, 1), FixedSampler((8, 8, 1), (10, 10, 0)), None)
    assert weight == 0
    assert np.array_equal(found, np.zeros(4))


def test_a_point_on_another_slice_is_not_learned():
    points = np.array([[5.0, 6.0, 2.0], [5.0, 6.0, 3.0]]).ravel()
    subject = PreparedSubject("p", np.zeros((16, 16, 5, 1), np.float32), {"eye": points})
    window = (8, 8, 1)
    source = WindowSource(
        [subject], window, FixedSampler(window, (1, 2, 3)), None, {"eye": "points"}, learn_points={"eye": learn_points}
    )
    _, targets, weights = source.window(0)
    np.testing.assert_array_equal(weights["eye"], [0, 1])
    np.testing.assert_array_equal(targets["eye"], [[0, 0], [4, 4]])


def test_points_need_something_that_learns_them_and_as_many_numbers_of_every_subject():
    image = np.zeros((8, 8, 1, 1), np.float32)
    one, two = PreparedSubject("p0", image, {"eye": np.zeros(3)}), PreparedSubject("p1", image, {"eye": np.zeros(6)})
    sampler = UniformSampler((4, 4, 1))
    with pytest.raises(ConfigError, match="task 'eye' has places as target, and nothing says what is learned"):
        WindowSource([one], (4, 4, 1), sampler, None, {"eye": "points"})
    with pytest.raises(DataError, match="'p1': the target of task 'eye' has 6 values where 'p0' has 3"):
        WindowSource([one, two], (4, 4, 1), sampler, None, {"eye": "points"}, learn_points={"eye": learn_points})


# Plain geometry


def test_the_hull_of_a_boxes_corners_is_the_box():
    box = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 9.0])
    assert len(box_corners(box)) == 8
    np.testing.assert_array_equal(hull(box_corners(box)), box)
    assert np.isnan(hull(np.array([[1.0, 2.0], [np.nan, np.nan]]))).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), st.integers(1, 500), st.integers(1, 500))
def test_fractions_and_voxels_are_each_others_inverse(point, width, height):
    back = from_fractions(in_fractions(np.array(point), (width, height)), (width, height))
    np.testing.assert_allclose(back, point, atol=1e-9)


def test_points_keep_their_millimetres_on_another_grid():
    rng = np.random.default_rng(0)
    first, second = (np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    points = rng.normal(size=(5, 3))
    moved = points_between(first, second)(points)
    np.testing.assert_allclose(moved @ second[:3, :3].T + second[:3, 3], points @ first[:3, :3].T + first[:3, 3])


@pytest.mark.parametrize(("units", "far"), [("mm", (24.0, 12.0)), ("pixels", (8.0, 6.0)), ("fractions", (1.0, 1.0))])
def test_points_of_a_plane_count_from_its_outer_edge_along_the_axes_of_files(units, far):
    """x runs along the second axis of the array, in steps of 3 mm, and y along the first one, in steps of 2 mm."""
    frame = Frame((6, 8, 1), axes=(1, 0, 2), affine=np.diag([2.0, 3.0, 1.0, 1.0]))
    corners = np.array([[-0.5, -0.5, 0.0], [5.5, 7.5, 0.0]])
    np.testing.assert_allclose(frame.points_in_voxels(np.array([(0.0, 0.0), far]), units), corners)
    np.testing.assert_allclose(frame.points_as_written(corners, 2), [(0.0, 0.0), (24.0, 12.0)])


def test_where_a_fold_hides_a_point_the_voxel_that_shows_what_is_nearest_is_taken():
    """Positions fall to 1 and rise again: none is 0.5, and no step from either side of the fold leads there."""
    positions = np.array([[3.0, 2.0, 1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(places_showing(positions, np.array([[0.5]])), [[2.0]])
