"""The rooms: depth and normals are those of one scene, holes are holes in both, and seeds repeat."""

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfgkeras.phantom.rooms import (
    COLOURS,
    FOCAL,
    SLANTED,
    SURFACES,
    build_room,
    draw_box,
    draw_camera,
    draw_holes,
    hit_box,
    hit_walls,
    paint,
    pixel_rays,
)
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


ROOM = np.array([2.0, 1.2, 3.0])
PLACE = np.array([0.3, -0.2, -1.5])


def directions(count=400, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_a_ray_ends_on_the_first_plane_that_a_march_along_it_meets():
    """Walls are found by division; here by steps of a millimetre until the room is left."""
    rays = directions(60)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    lengths, normals, planes = hit_walls(PLACE, rays, ROOM)
    steps = np.arange(0, 8, 1e-3)
    for ray, length, normal, plane in zip(rays, lengths, normals, planes, strict=True):
        inside = (np.abs(PLACE + steps[:, None] * ray) <= ROOM).all(axis=1)
        assert length == pytest.approx(steps[inside].max(), abs=2e-3)
        end = PLACE + length * ray
        axis = np.abs(np.abs(end) - ROOM).argmin()
        assert abs(end[axis]) == pytest.approx(ROOM[axis])
        np.testing.assert_array_equal(normal, -np.sign(end[axis]) * np.eye(3)[axis])
        assert plane == {(0, -1): 0, (0, 1): 1, (1, 1): 2, (1, -1): 3, (2, -1): 4, (2, 1): 5}[axis, np.sign(end[axis])]


def test_rays_along_an_axis_meet_one_plane_at_its_distance():
    """They never meet the others, where a division by 0 gives no length."""
    rays = np.concatenate([np.eye(3), -np.eye(3)])
    lengths, normals, planes = hit_walls(PLACE, rays, ROOM)
    np.testing.assert_allclose(lengths, [*(ROOM - PLACE), *(ROOM + PLACE)])
    np.testing.assert_array_equal(normals, -rays)
    assert planes.tolist() == [1, 2, 5, 0, 3, 4]
    doubled, _, _ = hit_walls(PLACE, 2 * rays, ROOM)
    np.testing.assert_allclose(2 * doubled, lengths)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 77.0])
def test_a_ray_meets_a_box_where_its_points_begin_to_lie_in_it(degrees):
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    middle = turn @ np.array([0.5, 0.6, 1.0])
    low, high = middle - (0.5, 0.6, 0.3), middle + (0.5, 0.6, 0.3)
    rays = directions(300, 1) * 0.4 + (0.1, 0.3, 1.0)
    lengths, normals = hit_box(PLACE, rays, low, high, turn)
    steps = np.arange(0, 8, 2e-3)
    hits = 0
    for ray, length, normal in zip(rays, lengths, normals, strict=True):
        own = (PLACE + steps[:, None] * ray) @ turn.T
        inside = ((own >= low) & (own <= high)).all(axis=1)
        if inside.sum() < 5:  # a corner that is grazed may lie between two steps
            assert np.isinf(length) or not inside.any() or length == pytest.approx(steps[inside].min(), abs=4e-3)
            continue
        hits += 1
        assert length == pytest.approx(steps[inside].min(), abs=4e-3)
        assert np.linalg.norm(normal) == pytest.approx(1)
        assert normal @ ray < 0, "it points outwards"
        face = turn @ (PLACE + length * ray)
        axis = np.abs(turn @ normal).argmax()
        assert min(abs(face[axis] - low[axis]), abs(face[axis] - high[axis])) < 1e-9
    assert hits > 30


def test_a_box_behind_the_camera_or_beside_the_ray_is_not_met():
    low, high = np.array([-1.0, -1, 2]), np.array([1.0, 1, 3])
    rays = np.array([[0.0, 0, 1], [0, 0, -1], [3, 0, 1], [0, 2, 1], [1, 0, 0]])
    lengths, _ = hit_box(np.zeros(3), rays, low, high, np.eye(3))
    assert lengths.tolist() == [2.0, np.inf, np.inf, np.inf, np.inf]


def test_the_camera_sees_as_far_to_the_side_as_its_focal_length_says():
    """96 degrees between the outer edges; a pixel's ray goes through its middle, and is 1 along the axis."""
    rays = pixel_rays(100)
    np.testing.assert_array_equal(rays[..., 2], 1)
    step = rays[0, 1, 0] - rays[0, 0, 0]
    edge = rays[0, -1, 0] + step / 2
    assert 2 * np.degrees(np.arctan(edge)) == pytest.approx(2 * np.degrees(np.arctan(1 / FOCAL)))
    assert 2 * np.degrees(np.arctan(edge)) == pytest.approx(96, abs=0.1)
    np.testing.assert_allclose(rays[..., 0], -rays[:, ::-1, 0])
    assert rays[0, 0, 1] < 0 < rays[-1, 0, 1], "y points down"
    np.testing.assert_array_equal(rays[..., 1], rays[..., 0].T)


def test_the_camera_stands_in_the_room_and_looks_ahead():
    for seed in range(100):
        turn, place, extent = draw_camera(np.random.default_rng(seed))
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
        assert (np.abs(place) < 0.95 * extent).all()
        assert place[2] < 0, "in the back half"
        assert turn[2, 2] > np.cos(np.radians(35)) * np.cos(np.radians(12)) - 1e-9
        # Pitch is about the room's axis: seen from the side a part of it is a roll.
        assert abs(np.degrees(np.arcsin(turn[1, 0]))) < 4 + 7, "the horizon is nearly level"


def test_boxes_stand_on_the_floor_and_do_not_hold_the_camera():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        _, place, extent = draw_camera(rng)
        low, high, turn = draw_box(rng, place, extent)
        assert high[1] == pytest.approx(extent[1]), "y points down, and is not turned"
        assert low[1] > -extent[1]
        np.testing.assert_allclose(turn @ (0, 1, 0), (0, 1, 0), atol=1e-12)
        own = turn @ place
        assert ((own < low - 0.4) | (own > high + 0.4)).any()
        assert (high - low >= 0.5 - 1e-9).any()
        # Of a camera that stands where boxes do many would hold it.
        among = np.array([0.0, 0.7, 0.3]) * extent
        low, high, turn = draw_box(rng, among, extent)
        assert ((turn @ among < low - 0.4) | (turn @ among > high + 0.4)).any()


def scene(slope=0.0, step=None, side=48):
    """A plane at 2 m that turns away to the right, and steps back there by a factor; and its normals."""
    rays = pixel_rays(side)
    normal = np.array([np.sin(slope), 0.0, -np.cos(slope)])
    depth = 2.0 * normal[2] / (rays @ normal)
    if step is not None:
        depth[:, side // 2 :] *= step
    return rays, depth, np.broadcast_to(normal, rays.shape)


def test_a_depth_camera_sees_nothing_at_a_slant():
    rays, depth, normals = scene(slope=np.radians(60))
    cosine = -(rays * normals).sum(axis=-1) / np.linalg.norm(rays, axis=-1)
    slanted = cosine < SLANTED
    assert 0.05 < slanted.mean() < 0.5
    holes = draw_holes(np.random.default_rng(0), rays, np.full(depth.shape, 2.0), normals)
    assert holes[slanted].all()
    assert holes[~slanted].mean() < 0.05


@pytest.mark.parametrize(("step", "is_hole"), [(1.2, False), (1.4, True), (0.7, True), (0.85, False)])
def test_a_depth_camera_sees_nothing_along_edges_of_a_quarter(step, is_hole):
    """Of what stands in front, in either direction, and down as to the side."""
    rays, depth, normals = scene(step=step)
    for turned in (False, True):
        depths = depth.T if turned else depth
        holes = draw_holes(np.random.default_rng(1), rays, depths, normals)
        holes = holes.T if turned else holes
        assert (holes[:, 23].mean() > 0.9) == is_hole
        assert np.delete(holes, 23, axis=1).mean() < 0.05


def test_a_few_spots_are_holes_anywhere():
    """Where a smooth normal field is beyond 2.2 of its standard deviations: 1.4 % of an image in the mean."""
    rays, depth, normals = scene()
    found = [draw_holes(np.random.default_rng(seed), rays, depth, normals).mean() for seed in range(60)]
    assert np.mean(found) == pytest.approx(0.0139, abs=0.005)


def test_light_comes_from_above_and_falls_with_the_distance():
    rays = pixel_rays(48)
    kinds = np.zeros(1, int)
    surface = np.zeros(rays.shape[:2], int)

    def brightness(depth, y):
        normals = np.broadcast_to([0.0, y, 0.0], rays.shape)
        return paint(np.random.default_rng(7), rays, np.full(surface.shape, depth), normals, surface, kinds).mean()

    assert brightness(1.0, -1.0) > brightness(1.0, 0.0) + 5 > brightness(1.0, 1.0) + 10
    assert brightness(1.0, 0.0) > brightness(2.0, 0.0) > brightness(6.0, 0.0)
    image = paint(
        np.random.default_rng(7), rays, np.full(surface.shape, 2.0), np.zeros(rays.shape), surface, kinds
    ).astype(float)
    assert image[20:28, 20:28].mean() > 1.08 * image[:8, :8].mean(), "the lamp stands at the camera"


def test_surfaces_have_the_colours_of_their_kinds():
    """In the mean over many rooms: each room differs from it by its own."""
    rays = pixel_rays(16)
    ratios = []
    for seed in range(60):
        surface = np.repeat([[0], [1], [2], [3]], 4, axis=0) * np.ones((1, 16), int)
        painted = paint(
            np.random.default_rng(seed), rays, np.full((16, 16), 2.0), np.zeros(rays.shape), surface, np.arange(4)
        )
        mean = np.array([painted[surface == kind].mean(axis=0) for kind in range(4)])
        ratios.append(mean / mean.sum())
    np.testing.assert_allclose(np.mean(ratios, axis=0), COLOURS / COLOURS.sum(), atol=0.012)
