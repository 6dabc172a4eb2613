"""How the pelvis becomes images: places in the body, painting on a grid, coil, gain, noise, against plain formulas."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfgkeras.phantom import pelvis
from sfgkeras.phantom.pelvis import (
    SIZES,
    SLAB_CENTER,
    Canvas,
    Grid,
    Patient,
    acquire_ct,
    acquire_mr,
    body_coordinates,
    coil_field,
    draw_patient,
    grid_affine,
)
from sfgkeras.phantom.pelvis_anatomy import Part, Tissue
from sfgkeras.phantom.solids import Ellipsoid, Texture, Tube

STILL = (np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)))
PLAIN = {
    "air": Tissue(-1000, 0.0, 0.0, 0.0),
    "water": Tissue(5, 1.0, 0.0, 0.0),
    "bone": Tissue(900, 0.1, 0.0, 0.0),
    "grainy": Tissue(100, 0.5, 20.0, 0.2, 5.0),
}
BALL = Ellipsoid((0, 0, 0), (10, 10, 10))


def patient(*parts, pose=None, waves=STILL):
    texture = Texture.draw(np.random.default_rng(0))
    return Patient(list(parts), PLAIN, texture, np.eye(4) if pose is None else pose, waves)


def centred(shape, spacing):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    return affine


def canvas(*parts, shape=(16, 16, 16), spacing=(2.0, 2.0, 2.0), modality="ct", **options):
    return Canvas(patient(*parts, **options), shape, centred(shape, spacing), modality)


def radii(shape=(16, 16, 16), spacing=(2.0, 2.0, 2.0)):
    steps = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.linalg.norm(np.stack(np.meshgrid(*steps, indexing="ij")), axis=0)


def test_places_in_the_body_are_those_of_the_affines_and_of_sines_of_every_voxel():
    """The module takes each wave apart into factors of the axes; here every voxel has its own sine."""
    rng = np.random.default_rng(2)
    drawn = draw_patient(rng)
    shape = (5, 7, 4)
    affine = grid_affine(rng, Grid(shape, (3.0, 4.0, 9.0)), (8.0, -3.0, 2.0))
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    body = world @ drawn.pose[:3, :3].T + drawn.pose[:3, 3]
    expected = body.copy()
    for vector, phase, length in zip(*drawn.waves, strict=True):
        expected += np.sin(body @ vector + phase)[..., None] * length
    found = np.stack(body_coordinates(drawn, shape, affine), axis=-1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_patient_is_turned_little_scaled_little_and_bent_smoothly():
    for seed in range(8):
        drawn = draw_patient(np.random.default_rng(seed))
        left, scales, right = np.linalg.svd(drawn.pose[:3, :3])
        assert (scales > 1 / 1.06 - 1e-9).all()
        assert (scales < 1 / 0.94 + 1e-9).all()
        assert np.degrees(Rotation.from_matrix(left @ right).magnitude()) < 4 * np.sqrt(3) + 1
        assert np.abs(drawn.pose[:3, 3]).max() <= 6
        vectors, _, lengths = drawn.waves
        waves = 2 * np.pi / np.linalg.norm(vectors, axis=1)
        assert (waves >= 110).all()
        assert (waves <= 240).all()
        # The steepest that all waves can be together: space is never folded.
        steepest = np.einsum("wi,wj->ij", np.abs(lengths), np.abs(vectors))
        assert steepest.sum(axis=1).max() < 1.5


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_ball_of_one_tissue_has_its_value_inside_air_outside_and_between_at_its_edge(modality):
    painted = canvas(Part(BALL, ((0, "water"),), 2), modality=modality).paint_all()
    water, air = getattr(PLAIN["water"], modality), getattr(PLAIN["air"], modality)
    distance = radii() - 10
    np.testing.assert_allclose(painted.values[distance < -1.2], water, atol=1e-4)
    np.testing.assert_allclose(painted.values[distance > 1.2], air, atol=1e-4)
    # Over the width of a voxel, 2 mm, values go from one to the other.
    share = np.clip(0.5 - distance / 2.0, 0, 1)
    np.testing.assert_allclose(painted.values, air + share * (water - air), atol=0.02 * (water - air))
    np.testing.assert_array_equal(painted.labels, np.where(distance < 0, 2, 0))


def test_layers_lie_one_within_the_other_at_their_depths():
    painted = canvas(Part(BALL, ((0, "bone"), (4, "water")))).paint_all()
    distance = radii() - 10
    np.testing.assert_allclose(painted.values[distance < -5.2], 5, atol=1e-3)
    np.testing.assert_allclose(painted.values[(distance > -2.8) & (distance < -1.2)], 900, atol=1e-3)
    np.testing.assert_allclose(painted.values[distance > 1.2], -1000, atol=1e-3)


def test_later_parts_lie_over_earlier_ones_and_none_leaves_their_labels():
    small = Ellipsoid((0, 0, 0), (5, 5, 5))
    distance = radii()
    for label, expected in ((None, 3), (0, 0), (1, 1)):
        painted = canvas(Part(BALL, ((0, "water"),), 3), Part(small, ((0, "bone"),), label)).paint_all()
        assert set(np.unique(painted.labels[distance < 4.9])) == {expected}
        assert set(np.unique(painted.labels[(distance > 5.1) & (distance < 9.9)])) == {3}
        np.testing.assert_allclose(painted.values[distance < 3.8], 900, atol=1e-3)


def test_a_part_without_layers_labels_only():
    painted = canvas(Part(BALL, (), 4)).paint_all()
    assert (painted.values == -1000).all()
    np.testing.assert_array_equal(painted.labels == 4, radii() < 10)


def test_what_lies_beyond_the_grid_is_not_painted_and_what_reaches_into_it_is():
    away = canvas(Part(Ellipsoid((60, 0, 0), (10, 10, 10)), ((0, "water"),), 1)).paint_all()
    assert (away.values == -1000).all()
    assert not away.labels.any()
    corner = np.array((18.0, 18.0, 18.0))
    painted = canvas(Part(Ellipsoid(corner, (10, 10, 10)), ((0, "water"),), 1)).paint_all()
    steps = (np.arange(16) - 7.5) * 2
    gap = np.linalg.norm(np.stack(np.meshgrid(*[steps] * 3, indexing="ij"), axis=-1) - corner, axis=-1)
    np.testing.assert_array_equal(painted.labels == 1, gap < 10)
    assert painted.labels.any()


def test_only_the_block_around_a_part_is_painted_and_it_is_large_enough():
    """In a body that is turned the block is still around all voxels of the part, with half a voxel of soft edge."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", (20, -15, 40), degrees=True).as_matrix()
    rod = Tube([(-9, 0, 0), (9, 4, 2)], [3.0, 2.0])
    painted = canvas(Part(rod, ((0, "water"),), 1), pose=pose).paint_all()
    points = body_coordinates(painted.patient, (16, 16, 16), centred((16, 16, 16), (2.0, 2.0, 2.0)))
    distance = rod.distance(*points)
    np.testing.assert_array_equal(painted.labels == 1, distance < 0)
    np.testing.assert_allclose(painted.values, -1000 + np.clip(0.5 - distance / 2, 0, 1) * 1005, atol=0.01)


def test_edges_are_soft_over_the_mean_width_of_a_voxel():
    painted = canvas(Part(BALL, ((0, "water"),)), shape=(20, 20, 4), spacing=(1.0, 1.0, 8.0))
    assert painted.softness == pytest.approx(2.0)  # the cube root of 1 x 1 x 8


@pytest.mark.parametrize(("modality", "mean", "spread"), [("ct", 100, 20), ("mr", 0.5, 0.1)])
def test_grain_changes_a_tissue_by_its_texture(modality, mean, spread):
    """In Hounsfield units in CT; as a part of the signal in MR."""
    painted = canvas(
        Part(Ellipsoid((0, 0, 0), (80, 80, 80)), ((0, "grainy"),)), shape=(24, 24, 24), modality=modality
    ).paint_all()
    assert painted.values.mean() == pytest.approx(mean, abs=0.3 * spread)
    assert painted.values.std() == pytest.approx(spread, rel=0.25)
    neighbours = np.corrcoef(painted.values[1:].ravel(), painted.values[:-1].ravel())[0, 1]
    assert 0.3 < neighbours < 0.95, "grains of 5 mm are larger than voxels of 2 mm, and smaller than the image"


@pytest.mark.parametrize("tilt", [(0.0, 0.0, 0.0), (10.0, -3.0, 4.0)])
def test_the_middle_of_every_grid_lies_near_that_of_the_slab(tilt):
    grid = SIZES["small"]["mr"]
    middles = []
    for seed in range(200):
        affine = grid_affine(np.random.default_rng(seed), grid, tilt)
        middles.append(affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + affine[:3, 3])
        np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), grid.spacing)
        turn = affine[:3, :3] / grid.spacing
        np.testing.assert_allclose(turn, Rotation.from_euler("xyz", tilt, degrees=True).as_matrix(), atol=1e-12)
    offsets = np.array(middles) - (0, 0, SLAB_CENTER)
    assert (np.abs(offsets) <= (3, 3, 1.5)).all()
    assert (np.abs(offsets).max(axis=0) > (2.5, 2.5, 1.2)).all()


def test_a_coil_is_positive_smooth_and_one_in_the_mean():
    for seed in range(6):
        field = coil_field(np.random.default_rng(seed), (40, 36, 12))
        assert field.shape == (40, 36, 12)
        assert field.min() > 0
        assert field.mean() == pytest.approx(1, abs=1e-5)
        assert 1.3 < field.max() / field.min() < 12
        for axis in range(3):
            assert np.abs(np.diff(np.log(field), axis=axis)).max() < 1.0
    assert np.abs(np.diff(np.log(field), axis=0)).max() < 0.25, "a knot every ten voxels"


def test_ct_is_in_whole_hounsfield_units_that_a_scanner_can_store():
    hot = {**PLAIN, "metal": Tissue(9000, 0.0, 0.0, 0.0)}
    one = patient(Part(Ellipsoid((0, 0, 0), (30, 30, 30)), ((0, "metal"),), 3))
    one = Patient(one.parts, hot, one.texture, one.pose, one.waves)
    ct, organs = acquire_ct(np.random.default_rng(1), one, Grid((24, 24, 24), (4.0, 4.0, 4.0)))
    assert (ct.array.dtype, organs.array.dtype) == (np.int16, np.uint8)
    assert (ct.array.min(), ct.array.max()) == (-1024, 3071)
    noise = ct.array[organs.array == 0]
    outside = noise[(noise < -900) & (noise > -1024)]
    assert abs(np.median(outside) + 1000) < 6
    np.testing.assert_array_equal(ct.affine, organs.affine)


def test_noise_of_ct_has_no_mean_and_the_spread_of_a_scanner():
    spreads = []
    for seed in range(6):
        ct, _ = acquire_ct(
            np.random.default_rng(seed),
            patient(Part(Ellipsoid((0, 0, 0), (300,) * 3), ((0, "water"),))),
            Grid((20, 20, 20), (4.0, 4.0, 4.0)),
        )
        assert ct.array.mean() == pytest.approx(5, abs=1)
        spreads.append(ct.array.std())
    assert 11.5 < min(spreads) < max(spreads) < 18.5


def test_slices_of_mr_are_means_over_their_thickness():
    """A plane between water and air in the middle of a slice gives half of the signal there."""
    half_space = Part(Ellipsoid((0, 0, -500), (2000, 2000, 500), power=2), ((0, "water"),))
    grid = Grid((12, 12, 7), (4.0, 4.0, 9.0))
    mr = acquire_mr(np.random.default_rng(3), patient(half_space), grid, (0.0, 0.0, 0.0))
    level = np.median(mr.array, axis=(0, 1))
    heights = mr.affine[2, 3] + 9.0 * np.arange(7)
    for height, value in zip(heights, level / level[0], strict=True):
        expected = np.clip(0.5 - height / 9.0, 0, 1)
        assert value == pytest.approx(expected, abs=0.5), "the coil changes it by some"
    assert (np.diff(level) <= 0.25 * level[0]).all()
    assert level[-1] < 0.1 * level[0]


def test_air_in_mr_is_rayleigh_noise_and_signal_is_scaled_by_one_gain():
    """The magnitude of complex noise has the mean sqrt(pi / 2) and the spread sqrt(2 - pi / 2), of each part's."""
    gains = []
    for seed in range(5):
        mr = acquire_mr(np.random.default_rng(seed), patient(), Grid((24, 24, 10), (4.0, 4.0, 6.0)), (0.0, 0.0, 0.0))
        assert mr.array.dtype == np.int16
        assert mr.array.min() >= 0
        ratio = mr.array.mean() / mr.array.std()
        assert ratio == pytest.approx(np.sqrt(np.pi / 2) / np.sqrt(2 - np.pi / 2), rel=0.06)
        gains.append(mr.array.mean() / np.sqrt(np.pi / 2))
    # 0.015 to 0.03 of the signal of urine, times a gain of 350 to 1400.
    assert 0.015 * 350 * 0.9 < min(gains) < max(gains) < 0.03 * 1400 * 1.1


def test_tilted_slices_show_the_same_body():
    """Where the grid is turned, the ball is found where it was."""
    ball = Part(Ellipsoid((12, -8, SLAB_CENTER), (20, 20, 20)), ((0, "water"),))
    for tilt in ((0.0, 0.0, 0.0), (12.0, -3.0, 4.0)):
        mr = acquire_mr(np.random.default_rng(4), patient(ball), Grid((40, 40, 16), (3.0, 3.0, 5.0)), tilt)
        voxels = np.argwhere(mr.array > 0.4 * np.percentile(mr.array, 99.5))
        centre = mr.affine[:3, :3] @ voxels.mean(axis=0) + mr.affine[:3, 3]
        np.testing.assert_allclose(centre, (12, -8, SLAB_CENTER), atol=2.0)


@pytest.fixture
def even_coil(monkeypatch):
    """A coil that is equally sensitive everywhere."""
    monkeypatch.setattr(pelvis, "coil_field", lambda rng, shape: np.ones(shape, np.float32))


def test_thick_slices_lie_where_their_affine_says(even_coil):
    """A third of a slice aside would be 3 mm here."""
    ball = Part(Ellipsoid((0, 0, SLAB_CENTER), (30, 30, 30)), ((0, "water"),))
    for seed in range(3):
        mr = acquire_mr(
            np.random.default_rng(seed), patient(ball), Grid((30, 30, 15), (3.0, 3.0, 9.0)), (0.0, 0.0, 0.0)
        )
        signal = np.where(mr.array > 0.2 * mr.array.max(), mr.array, 0).astype(float)
        heights = mr.affine[2, 3] + 9.0 * np.arange(15)
        centre = (signal.sum(axis=(0, 1)) * heights).sum() / signal.sum()
        assert centre == pytest.approx(SLAB_CENTER, abs=0.7)


def test_gains_of_scanners_are_spread_evenly_by_their_logarithm(even_coil):
    """Of urine the signal is the gain: 350 to 1400, the middle at 700."""
    full = Part(Ellipsoid((0, 0, 0), (300, 300, 300)), ((0, "water"),))
    grid = Grid((6, 6, 4), (3.0, 3.0, 3.0))
    gains = np.array([
        np.median(acquire_mr(np.random.default_rng(seed), patient(full), grid, (0.0, 0.0, 0.0)).array)
        for seed in range(60)
    ])  # fmt: skip
    assert 340 < gains.min() < 420
    assert 1150 < gains.max() < 1450
    assert np.median(gains) == pytest.approx(700, rel=0.2)


def test_bodies_are_as_large_as_the_ranges_of_their_axes_allow():
    """From the world to the body: a patient that is 4 % wider divides by 1.04."""
    scales = np.array([
        np.linalg.norm(draw_patient(np.random.default_rng(seed)).pose[:3, :3], axis=0) for seed in range(80)
    ])  # fmt: skip
    low, high = 1 / np.array([1.04, 1.06, 1.06]), 1 / np.array([0.95, 0.94, 0.94])
    assert ((low - 1e-9 <= scales) & (scales <= high + 1e-9)).all()
    np.testing.assert_allclose(scales.min(axis=0), low, atol=0.008)
    np.testing.assert_allclose(scales.max(axis=0), high, atol=0.008)
