"""The rooms: depth and normals are those of one scene, holes are holes in both, and seeds repeat."""

import h5py
import numpy as np
import pytest

from sfgkeras.phantom.rooms import SURFACES, build_room, pixel_rays
from sfgkeras.phantom.rooms_files import write_rooms

SEED = 4


@pytest.fixture(scope="module")
def rooms():
    return [build_room(SEED, subject) for subject in range(12)]


def normals_of(depth):
    """Normals of the surface through the points at neighbouring pixels: the product of two tangents, to the camera."""
    points = depth[..., None] * pixel_rays(len(depth))
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(right, down)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals * -np.sign((normals * points).sum(axis=-1, keepdims=True))


def test_normals_are_those_of_the_surface_that_the_depths_draw(rooms):
    for room in rooms:
        # Within surfaces: where both neighbours on all sides have the same normal.
        same = np.ones(room.depth.shape, bool)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            same &= np.all(np.roll(room.true_normals, step, axis) == room.true_normals, axis=-1)
        same[[0, -1]] = same[:, [0, -1]] = False
        cosine = (normals_of(room.true_depth.astype(float)) * room.true_normals).sum(axis=-1)[same]
        assert same.mean() > 0.7
        assert np.mean(cosine > 0.9999) > 0.99


def test_points_of_a_plane_lie_in_a_plane(rooms):
    for room in rooms[:4]:
        floor = room.labels == SURFACES.index("floor")
        points = (room.true_depth[..., None] * pixel_rays(64))[floor]
        heights = points @ np.unique(room.true_normals[floor], axis=0).mean(axis=0)
        assert np.ptp(heights) < 1e-4
        assert heights.mean() < -0.5, "the camera stands above the floor"


def test_holes_are_holes_of_depth_and_normals_alike(rooms):
    for room in rooms:
        hole = room.depth == 0
        assert 0 < hole.mean() < 0.2
        np.testing.assert_array_equal(hole, ~room.normals.any(axis=-1))
        np.testing.assert_array_equal(room.depth[~hole], room.true_depth[~hole])
        np.testing.assert_allclose(np.linalg.norm(room.normals[~hole], axis=-1), 1, rtol=1e-5)
        assert (room.true_depth > 0.05).all()
        assert (room.true_depth < 20).all()


def test_every_kind_of_surface_is_seen_and_turned_as_it_should(rooms):
    seen = {kind for room in rooms for kind in np.unique(room.labels)}
    assert seen == set(range(len(SURFACES)))
    for room in rooms:
        # y points down: floors look up, ceilings down, within the camera's pitch and roll.
        assert (room.true_normals[room.labels == 1, 1] < -0.95).all()
        assert (room.true_normals[room.labels == 2, 1] > 0.95).all()


def test_a_subject_depends_on_seed_and_number_alone(tmp_path):
    one, same, other = build_room(1, 3), build_room(1, 3), build_room(2, 3)
    np.testing.assert_array_equal(one.image, same.image)
    assert np.any(one.image != other.image)
    write_rooms(tmp_path / "a", 10, seed=1)
    with h5py.File(tmp_path / "a" / "train" / "depth.h5") as file:
        assert file["depth"].shape == (6, 64, 64, 1)
        np.testing.assert_array_equal(file["depth"][3, ..., 0], one.depth)
    with h5py.File(tmp_path / "a" / "test" / "normals.h5") as file:
        np.testing.assert_array_equal(file["normals"][1], build_room(1, 9).normals)
