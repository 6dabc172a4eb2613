"""Depths and normals of windows: of the scene that the turned, mirrored or zoomed picture shows."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfgkeras.data.augmentation import Augmentation, Deformation
from sfgkeras.data.directions import frame_directions, turned, unit_vectors
from sfgkeras.data.samplers import ResizeSampler, Sampler
from sfgkeras.data.windows import PreparedSubject, WindowSource

KINDS = {"depth": "log_depth", "normal": "vectors"}


class Middle(Sampler):
    def start(self, subject, rng):
        return (np.array(subject.image.shape[:3]) - self.window_size) // 2


def plane(shape, normal, spacing=(1.0, 1.0, 1.0), depth=2.0):
    """A subject that shows one plane: its image is the height over the middle, whose slope the normal must stand on."""
    steps = [spacing[axis] * (np.arange(shape[axis]) - (shape[axis] - 1) / 2) for axis in range(2)]
    x, y = np.meshgrid(*steps, indexing="ij")
    height = -(normal[0] * x + normal[1] * y) / normal[2]
    targets = {
        "depth": np.full((*shape, 1), np.log(depth)),
        "normal": np.broadcast_to(unit_vectors(np.array(normal)), (*shape, 3)),
    }
    return PreparedSubject("p", height[..., None, None].astype(np.float32), targets, spacing=spacing)


def window_of(subject, size, augmentation=None, sampler=Middle, index=0):
    source = WindowSource([subject], size, sampler(size), augmentation, KINDS)
    image, targets, weights = source.window(index)
    return image[..., 0], targets, weights


def normal_of_height(height, spacing):
    """The normal of a height map by finite differences, `(rows, columns, 3)`."""
    slopes = np.gradient(height, *spacing)
    return unit_vectors(np.stack([-slopes[0], -slopes[1], np.ones_like(height)], axis=-1))


@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(flip_axes=(0,)),
        Augmentation(flip_axes=(0, 1)),
        Augmentation(rotation_angle=(30, 30)),
        Augmentation(rotation_angle=(-70, -70), flip_axes=(1,)),
        Augmentation(scaling_percentage=(40, 40), isotropic_scaling=True),
        Augmentation(scaling_percentage=(-30, 30)),
        Augmentation(rotation_angle=(-40, 40), scaling_percentage=(-20, 20), flip_axes=(0, 1)),
        Augmentation(deformation=Deformation(4, 2.0, 1.0)),
    ],
)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.5, 1.0)])
def test_a_normal_stands_on_the_slope_that_the_window_shows(augmentation, spacing):
    # The image holds heights, which nothing scales: their slope in the window, by finite differences, is the truth.
    subject = plane((60, 60, 1), (0.3, -0.5, 1.0), spacing)
    for index in range(4):
        height, targets, weights = window_of(subject, (20, 20, 1), augmentation, index=index)
        truth = normal_of_height(height.astype(np.float64), spacing[:2])
        inner = np.s_[2:-2, 2:-2]
        assert weights["normal"][inner].all()
        cosine = (truth * targets["normal"]).sum(axis=-1)[inner]
        assert cosine.min() > (0.995 if augmentation and augmentation.deformation else 0.99999)
        np.testing.assert_allclose(np.linalg.norm(targets["normal"], axis=-1)[inner], 1.0, rtol=1e-5)


@pytest.mark.parametrize("percent", [50, -25])
def test_what_is_zoomed_by_s_is_s_times_as_near(percent):
    zoom = Augmentation(scaling_percentage=(percent, percent), isotropic_scaling=True)
    subject = plane((60, 60, 1), (0.2, 0.1, 1.0))
    height, targets, _ = window_of(subject, (16, 16, 1), zoom)
    plain, still, _ = window_of(subject, (16, 16, 1))
    # The zoom as the image shows it: steps between pixels shrink by it.
    zoomed = float(np.ptp(plain) / np.ptp(height))
    assert abs(zoomed - (1 + percent / 100)) < 0.02
    np.testing.assert_allclose(np.exp(targets["depth"] - still["depth"]), 1 / zoomed, rtol=1e-4)


def test_turns_and_mirrors_leave_depths_alone():
    drawn = Augmentation(rotation_angle=(-40, 40), flip_axes=(0, 1))
    for index in range(3):
        targets = window_of(plane((60, 60, 1), (0.2, 0.1, 1.0)), (16, 16, 1), drawn, index=index)[1]
        np.testing.assert_allclose(targets["depth"], np.log(2.0), rtol=1e-5)


def test_a_resized_picture_shows_the_same_scene():
    _, targets, _ = window_of(plane((60, 40, 1), (0.3, -0.5, 1.0)), (30, 30, 1), sampler=ResizeSampler)
    expected = unit_vectors(np.array([0.3, -0.5, 1.0]))
    np.testing.assert_allclose(targets["normal"], np.broadcast_to(expected, (30, 30, 3)), atol=1e-5)
    np.testing.assert_allclose(targets["depth"], np.log(2.0), rtol=1e-5)


def test_vectors_turn_between_frames_as_rotations_say():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    turn = Rotation.from_euler("zyx", [20, -30, 50], degrees=True).as_matrix()
    onto = np.eye(4)
    onto[:3, :3] = turn * [2.0, 0.5, 1.0]
    found = turned(vectors, frame_directions(np.diag([3.0, 1, 1, 1])), frame_directions(onto))
    np.testing.assert_allclose(found, vectors @ turn, rtol=1e-5)
    # Rows and columns of a photo are y and x.
    swapped = turned(vectors, frame_directions(np.eye(4), (1, 0, 2)), frame_directions(np.eye(4)))
    np.testing.assert_allclose(swapped, vectors[:, [1, 0, 2]], rtol=1e-6)
