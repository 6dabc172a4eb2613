"""What augmentation draws, and the maps and fields that it amounts to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from sfgkeras.data.augmentation import Augmentation, Deformation, sampling_matrix
from sfgkeras.data.deformation import bias_field, cubic_basis, displacement_field
from sfgkeras.errors import ConfigError

angle = st.floats(-180, 180)
factor = st.floats(0.5, 2.0)
spacing_mm = st.floats(0.3, 6.0)


def generator(seed=0):
    return np.random.Generator(np.random.Philox(seed))


@given(
    angle,
    st.tuples(factor, factor),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(spacing_mm, spacing_mm),
)
@settings(max_examples=50, deadline=None)
def test_plane_matrix_inverts_mirror_then_scaling_then_rotation_in_millimetres(degrees, factors, flips, spacing):
    mirror = np.diag([-1.0 if flip else 1.0 for flip in flips])
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()[:2, :2]
    forward = np.diag(1 / np.array(spacing)) @ turn @ np.diag(factors) @ mirror @ np.diag(spacing)
    matrix = sampling_matrix((degrees,), factors, flips, spacing)
    np.testing.assert_allclose(matrix @ forward, np.eye(2), atol=1e-9)


@given(
    st.tuples(angle, angle, angle),
    st.tuples(factor, factor, factor),
    st.tuples(spacing_mm, spacing_mm, spacing_mm),
)
@settings(max_examples=50, deadline=None)
def test_volume_matrix_turns_about_x_then_y_then_z(angles, factors, spacing):
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    forward = np.diag(1 / np.array(spacing)) @ turn @ np.diag(factors) @ np.diag(spacing)
    matrix = sampling_matrix(angles, factors, (False,) * 3, spacing)
    np.testing.assert_allclose(matrix @ forward, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("rank", [2, 3])
def test_rotation_keeps_lengths_in_millimetres_on_anisotropic_voxels(rank):
    spacing = np.array([0.7, 1.3, 5.0])[:rank]
    matrix = sampling_matrix((20.0,) * (1 if rank == 2 else 3), (1.0,) * rank, (False,) * rank, spacing)
    offsets = generator().normal(size=(50, rank))
    np.testing.assert_allclose(
        np.linalg.norm(offsets @ matrix.T * spacing, axis=1), np.linalg.norm(offsets * spacing, axis=1)
    )


def test_nothing_is_drawn_by_default_and_voxels_are_copied():
    rng = generator()
    parameters = Augmentation().draw(rng, 3)
    assert parameters.is_exact
    assert parameters.flips == (False, False, False)
    assert parameters.bias_coefficients is None
    assert rng.random() == generator().random()


@pytest.mark.parametrize(("rank", "num_angles"), [(2, 1), (3, 3)])
def test_angles_and_factors_fill_their_ranges(rank, num_angles):
    augmentation = Augmentation(rotation_angle=(-10, 5), scaling_percentage=(-10, 20))
    rng = generator()
    draws = [augmentation.draw(rng, rank) for _ in range(500)]
    angles = np.array([draw.angles for draw in draws])
    factors = np.array([draw.factors for draw in draws])
    assert angles.shape == (500, num_angles)
    assert factors.shape == (500, rank)
    for values, low, high in ((angles, -10, 5), (factors, 0.9, 1.2)):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.05 * (high - low)
    assert not draws[0].is_exact


def test_isotropic_scaling_draws_one_factor_for_all_axes():
    augmentation = Augmentation(scaling_percentage=(-50, 50), isotropic_scaling=True)
    factors = np.array([augmentation.draw(generator(seed), 3).factors for seed in range(20)])
    assert np.all(factors == factors[:, :1])
    assert len(np.unique(factors)) == 20


def test_each_flip_axis_is_mirrored_half_of_the_time_independently():
    augmentation = Augmentation(flip_axes=(0, 2))
    rng = generator(3)
    flips = np.array([augmentation.draw(rng, 3).flips for _ in range(4000)])
    assert not flips[:, 1].any()
    counts = np.bincount(flips[:, 0] * 2 + flips[:, 2], minlength=4)
    assert np.sum((counts - 1000) ** 2 / 1000) < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_deformation_is_drawn_in_the_given_proportion_with_the_given_sigma():
    augmentation = Augmentation(deformation=Deformation(num_control_points=4, sigma=7.0, proportion=0.3))
    rng = generator(1)
    points = [augmentation.draw(rng, 2).control_points for _ in range(2000)]
    drawn = [p for p in points if p is not None]
    assert abs(len(drawn) / 2000 - 0.3) < 0.04
    assert drawn[0].shape == (2, 7, 7)
    assert abs(np.std(drawn) - 7.0) < 0.1


def test_bias_polynomial_has_no_power_above_its_order_and_stays_in_range():
    coefficients = Augmentation(bias_field_range=(-0.5, 0.2), bias_field_order=2).draw(generator(), 3).bias_coefficients
    assert coefficients.shape == (3, 3, 3)
    powers = np.sum(np.indices((3, 3, 3)), axis=0)
    assert np.count_nonzero(coefficients) == np.count_nonzero(powers <= 2) == 10
    assert coefficients.min() >= -0.5
    assert coefficients.max() <= 0.2


@pytest.mark.parametrize("rank", [2, 3])
def test_bias_field_is_the_exponential_of_the_polynomial_over_the_whole_volume(rank):
    shape, start, size = (11, 7, 5)[:rank], (3, 0, 1)[:rank], (4, 7, 3)[:rank]
    coefficients = generator(5).uniform(-1, 1, (3,) * rank)
    positions = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    exponent = sum(
        coefficients[powers] * np.prod([p**k for p, k in zip(positions, powers, strict=True)], axis=0)
        for powers in np.ndindex(*coefficients.shape)
    )
    window = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    np.testing.assert_allclose(bias_field(coefficients, start, size, shape), np.exp(exponent)[window], rtol=1e-5)


def test_bias_field_of_an_axis_with_one_voxel_is_finite():
    assert np.all(np.isfinite(bias_field(np.ones((3, 3)), (0, 0), (1, 4), (1, 4))))


def test_cubic_basis_equals_the_b_splines_of_scipy():
    intervals = 5
    position = np.linspace(0, intervals - 1e-9, 41)
    knots = np.arange(-3, intervals + 4, dtype=float)
    expected = BSpline.design_matrix(position, knots, 3).toarray()
    np.testing.assert_allclose(cubic_basis(position, intervals), expected, atol=1e-12)


@pytest.mark.parametrize("rank", [2, 3])
def test_equal_control_points_displace_every_voxel_alike(rank):
    points = np.broadcast_to(np.arange(1.0, rank + 1).reshape((rank,) + (1,) * rank), (rank,) + (6,) * rank)
    field = displacement_field(points, (2,) * rank, (4,) * rank, (12,) * rank)
    assert field.shape == (rank,) + (4,) * rank
    for axis in range(rank):
        np.testing.assert_allclose(field[axis], axis + 1.0)


def test_displacement_does_not_depend_on_where_the_window_is_cut():
    points = generator(2).normal(size=(2, 7, 7))
    whole = displacement_field(points, (0, 0), (40, 30), (40, 30))
    part = displacement_field(points, (5, 9), (20, 10), (40, 30))
    np.testing.assert_allclose(part, whole[:, 5:25, 9:19], atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Augmentation(rotation_angle=(10, -10)), r"rotation_angle = \(10, -10\)"),
        (lambda: Augmentation(scaling_percentage=(-100, 0)), r"scaling_percentage = \(-100, 0\)"),
        (lambda: Augmentation(bias_field_range=(0, np.inf)), "bias_field_range"),
        (lambda: Augmentation(flip_axes=(0, 3)), r"random_flipping_axes = \(0, 3\)"),
        (lambda: Augmentation(flip_axes=(1, 1)), "each at most once"),
        (lambda: Augmentation(bias_field_order=0), "bf_order = 0"),
        (lambda: Deformation(num_control_points=0), "num_ctrl_points = 0"),
        (lambda: Deformation(sigma=-1.0), r"deformation_sigma = -1\.0"),
        (lambda: Deformation(proportion=1.5), r"proportion_to_deform = 1\.5"),
    ],
)
def test_settings_that_cannot_be_used_are_named_with_their_value(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
