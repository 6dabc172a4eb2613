"""The animals: their truth fits their pictures, says what it should, and is the same for the same seed."""

import csv

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from sfgkeras.data.subjects import read_split, read_table
from sfgkeras.errors import DataError
from sfgkeras.phantom import shapes
from sfgkeras.phantom.cohort_files import phases
from sfgkeras.phantom.shapes import (
    KIND_NAMES,
    LEAST_CONTRAST,
    SIDES,
    blend,
    body_points,
    box_of,
    build_picture,
    cat_parts,
    dog_parts,
    draw_animal,
    draw_tail,
    paint,
    pixel_centres,
    share_of,
    textured,
    thing,
)
from sfgkeras.phantom.shapes_files import write_disjoint_pictures, write_hdf5, write_pictures
from sfgkeras.phantom.solids import Ellipsoid, Tube

SEED = 7


@pytest.fixture(scope="module")
def pictures():
    return [build_picture(SEED, subject) for subject in range(40)]


def test_an_animal_is_one_piece_and_lies_within_its_picture(pictures):
    for picture in pictures:
        assert picture.image.shape == (64, 64, 3)
        assert picture.mask.shape == (64, 64)
        assert (picture.image.dtype, picture.mask.dtype) == (np.uint8, np.uint8)
        parts, count = label(picture.mask, structure=np.ones((3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * picture.mask.sum(), count
        assert 0.04 < picture.mask.mean() < 0.5
        border = np.concatenate([picture.mask[[0, -1]].ravel(), picture.mask[:, [0, -1]].ravel()])
        assert not border.any()


def test_a_box_touches_the_mask_on_all_sides_and_holds_all_of_it(pictures):
    for picture in pictures:
        x_min, y_min, x_max, y_max = picture.box.astype(int)
        inside = picture.mask[y_min:y_max, x_min:x_max]
        assert inside.sum() == picture.mask.sum()
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_the_box_of_a_hand_drawn_mask_has_its_edges():
    mask = np.zeros((5, 8))
    mask[1:4, 2] = mask[2, 2:7] = 1
    assert box_of(mask).tolist() == [2, 1, 7, 4]
    with pytest.raises(ValueError, match="an empty mask has no box"):
        box_of(np.zeros((3, 3)))


def test_the_kinds_take_turns_and_differ_in_shape(pictures):
    assert [picture.kind for picture in pictures] == [0, 1] * 20
    tall = [
        np.median([np.subtract(*p.box[[3, 1]]) / np.subtract(*p.box[[2, 0]]) for p in pictures if p.kind == kind])
        for kind in range(len(KIND_NAMES))
    ]
    # Ears and tail of a cat point upwards.
    assert tall[0] > tall[1] + 0.05


def test_colours_say_nothing_of_the_kind_but_animal_and_ground_differ(pictures):
    colours = np.array([[p.image[p.mask == part].mean(axis=0) / 255 for part in (0, 1)] for p in pictures])
    kinds = np.array([picture.kind for picture in pictures])
    spread = colours.std(axis=0) * np.sqrt(4 / len(pictures))  # of a difference of two means
    for part in (0, 1):
        gap = colours[kinds == 0, part].mean(axis=0) - colours[kinds == 1, part].mean(axis=0)
        assert np.all(np.abs(gap) < 4 * spread[part])
    assert np.median(np.linalg.norm(colours[:, 0] - colours[:, 1], axis=1)) > LEAST_CONTRAST
    # No one brightness tells them apart in all pictures, as it would on a plain ground.
    best = max(
        np.mean([((p.image.mean(axis=2) > level) == p.mask).mean() for p in pictures]) for level in range(0, 256, 16)
    )
    assert best < 0.9


def test_a_subject_is_the_same_in_every_cohort_and_at_both_sizes():
    first, again = build_picture(SEED, 3), build_picture(SEED, 3)
    np.testing.assert_array_equal(first.image, again.image)
    large = build_picture(SEED, 3, "full")
    assert large.mask.shape == (SIDES["full"],) * 2
    assert abs(large.mask.mean() - first.mask.mean()) < 0.02
    np.testing.assert_allclose(large.box / 4, first.box, atol=1.1)
    assert np.any(build_picture(SEED + 1, 3).mask != first.mask)
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_picture(0, 0, "huge")


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (10, (6, 2, 2)), (100, (70, 15, 15))])
def test_every_subject_has_one_phase(count, sizes):
    found = phases(count)
    assert tuple(len(subjects) for subjects in found.values()) == sizes
    assert sorted(number for subjects in found.values() for number in subjects) == list(range(count))


def test_both_layouts_hold_the_same_subjects(tmp_path):
    write_hdf5(tmp_path / "h", 8, seed=SEED)
    write_pictures(tmp_path / "p", 8, seed=SEED)
    table, split = read_table(tmp_path / "p" / "subjects.csv"), read_split(tmp_path / "p" / "split.csv")
    for phase, folder in (("training", "train"), ("validation", "val"), ("inference", "test")):
        arrays = {}
        for name in ("images", "masks", "binary", "bboxes"):
            with h5py.File(tmp_path / "h" / folder / f"{name}.h5") as file:
                assert list(file) == [name]
                arrays[name] = file[name][()]
        assert {len(array) for array in arrays.values()} == {len(split[phase])}
        for row, subject in enumerate(split[phase]):
            image, mask = (np.asarray(Image.open(tmp_path / "p" / k / f"{subject}.png")) for k in ("images", "masks"))
            np.testing.assert_array_equal(arrays["images"][row], image)
            np.testing.assert_array_equal(arrays["masks"][row, ..., 0], mask)
            assert int(table[subject]["kind"]) == arrays["binary"][row, 0]
            box = [float(table[subject][key]) for key in ("x_min", "y_min", "x_max", "y_max")]
            assert box == arrays["bboxes"][row].tolist() == box_of(mask).tolist()


@pytest.mark.parametrize("write", [write_hdf5, write_pictures])
def test_files_are_replaced_only_when_allowed_and_the_same_seed_gives_the_same_bytes(write, tmp_path):
    files = write(tmp_path, 3, seed=1)
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(DataError, match="exists already, as do"):
        write(tmp_path, 3, seed=2)
    assert {path: path.read_bytes() for path in files} == before
    write(tmp_path, 3, seed=1, overwrite=True)
    assert {path: path.read_bytes() for path in files} == before
    write(tmp_path, 3, seed=2, overwrite=True)
    assert any(path.read_bytes() != before[path] for path in files)
    with pytest.raises(ValueError, match="num_subjects = 0 must be 1 or more"):
        write(tmp_path, 0)


def test_the_table_names_its_columns(tmp_path):
    write_pictures(tmp_path, 2)
    with (tmp_path / "subjects.csv").open() as file:
        assert next(csv.reader(file)) == ["subject_id", "kind", "x_min", "y_min", "x_max", "y_max"]


def test_disjoint_data_sets_have_one_target_each_and_it_is_the_true_one(tmp_path):
    write_disjoint_pictures(tmp_path / "apart", 12, seed=SEED)
    write_pictures(tmp_path / "whole", 12, seed=SEED)
    apart, whole = (read_table(tmp_path / name / "subjects.csv") for name in ("apart", "whole"))
    known, order = {"kind": 0, "x_min": 0, "mask": 0}, []
    for name, row in apart.items():
        told = [column for column in ("kind", "x_min") if row[column]]
        mask = tmp_path / "apart" / "masks" / f"{name}.png"
        told += ["mask"] if mask.exists() else []
        assert len(told) == 1
        known[told[0]] += 1
        order.append(told[0])
        assert all(text in ("", whole[name][column]) for column, text in row.items())
        same = (tmp_path / "whole" / "images" / f"{name}.png").read_bytes()
        assert (tmp_path / "apart" / "images" / f"{name}.png").read_bytes() == same
    assert set(known.values()) == {4}
    assert order == ["mask", "mask", "kind", "kind", "x_min", "x_min"] * 2, "a cat and a dog of each"
    assert {row["kind"] for row in apart.values()} == {"", "0", "1"}


def test_pixels_have_their_middles_and_y_points_upwards():
    x, y = pixel_centres(4)
    np.testing.assert_allclose(x, [[-0.75, -0.25, 0.25, 0.75]] * 4)
    np.testing.assert_allclose(y, np.transpose([[0.75, 0.25, -0.25, -0.75]] * 4))
    assert x.dtype == y.dtype == np.float32


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid((0.1, -0.2, 0), (0.5, 0.3, 1.0), (0, 0, 25)),
        Ellipsoid((-0.3, 0.4, 0), (0.4, 0.4, 1.0)),
        Tube([(-0.6, -0.4, 0), (0.5, 0.3, 0)], [0.2, 0.1]),
    ],
)
def test_a_share_is_the_part_of_a_pixel_that_lies_in_the_shape(shape):
    """Against pixels of 16 x 16 points each: by less than a fifth of a pixel, and in the whole area by a hundredth."""
    x, y = pixel_centres(32)
    fine_x, fine_y = pixel_centres(32 * 16)
    inside = shape.distance(fine_x, fine_y, np.zeros_like(fine_x)) < 0
    expected = inside.reshape(32, 16, 32, 16).mean(axis=(1, 3))
    found = share_of(shape, x, y)
    np.testing.assert_allclose(found, expected, atol=0.2)
    assert found.sum() == pytest.approx(expected.sum(), rel=0.01)
    assert (found.min(), found.max()) == (0, 1)


def test_a_blend_is_above_where_its_share_is_one_and_below_where_it_is_none():
    below, above = np.full((1, 3, 3), 10.0), np.full((1, 3, 3), 30.0)
    above[..., 1] = 50.0
    found = blend(below, above, np.array([[0.0, 0.25, 1.0]]))
    np.testing.assert_allclose(found[0], [[10, 10, 10], [15, 20, 15], [30, 50, 30]])


def test_a_pose_keeps_angles_and_lengths_and_tells_its_scale():
    """A pixel to the right is 1 / unit in the body, turned by 18 degrees at most; half of the animals are mirrored."""
    mirrored = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        animal = draw_animal(rng, seed % 2)
        points, unit = body_points(rng, animal, 64)
        right = np.array([(each[0, 1:] - each[0, :-1]).mean() for each in points])
        up = np.array([-(each[1:, 0] - each[:-1, 0]).mean() for each in points])
        for step in (right, up):
            assert np.linalg.norm(step) == pytest.approx(1 / unit, rel=1e-4)
        assert right @ up == pytest.approx(0, abs=1e-6)
        assert (right[2], up[2]) == (0, 0)
        assert up[1] * unit > np.cos(np.radians(18.1)), "feet are below"
        mirrored.append(np.cross(right, up)[2] < 0)
        assert unit <= 0.6 * 64 / 2 + 1e-6
    assert 0.3 < np.mean(mirrored) < 0.7


def test_a_large_animal_is_shrunk_until_it_lies_within_the_picture():
    for seed in range(20):
        giant = Ellipsoid((0, 0, 0), (9.0, 3.0, 1.0))
        points, unit = body_points(np.random.default_rng(seed), giant, 64)
        inside = giant.distance(*points) < 0
        assert not np.concatenate([inside[[0, -1]].ravel(), inside[:, [0, -1]].ravel()]).any()
        assert np.ptp(np.argwhere(inside), axis=0).max() > 40, "and no further"
        assert unit < 64 / 2 / 9


def test_ears_of_a_cat_point_upwards_and_end_in_a_point():
    for seed in range(20):
        ears = cat_parts(np.random.default_rng(seed), np.array([1.0, 0.5, 0.0]), 0.3)
        assert len(ears) == 2
        for ear, side in zip(ears, (-1, 1), strict=True):
            root, tip = np.array(ear.points)
            assert side * (tip - root)[0] > 0
            assert (tip - root)[1] > 0.3
            assert ear.radii == [0.2, 0.01]
            assert 0.3 + 0.36 <= np.linalg.norm(tip - (1.0, 0.5, 0.0)) <= 0.3 + 0.5


def test_a_dog_has_a_snout_before_its_head_and_an_ear_that_hangs_behind():
    for seed in range(20):
        snout, ear = dog_parts(np.random.default_rng(seed), np.array([1.0, 0.5, 0.0]), 0.3)
        assert snout.points[1][0] > 1.0 + 0.5
        assert abs(snout.points[1][1] - 0.5) < 0.3
        _, top, tip = ear.points
        assert tip[0] < top[0] < 1.0
        assert tip[1] < top[1] - 0.29


def test_a_tail_begins_at_the_back_bends_upwards_and_becomes_thinner():
    lengths = {1.0: [], 0.42: []}
    for length, found in lengths.items():
        for seed in range(20):
            tail = draw_tail(np.random.default_rng(seed), (-0.8, 0.1), length)
            steps = np.diff(np.array(tail.points), axis=0)
            np.testing.assert_array_equal(tail.points[0], (-0.8, 0.1, 0))
            angles = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
            assert (np.diff(angles) <= 1e-9).all(), "clockwise, from behind to above"
            assert steps[0, 0] < 0
            assert (np.diff(tail.radii) < 0).all()
            found.append(np.linalg.norm(steps, axis=1).sum())
    assert 0.85 <= min(lengths[1.0]) <= max(lengths[1.0]) <= 1.15
    assert max(lengths[0.42]) < 0.5


def test_a_cat_has_a_longer_tail_than_a_dog():
    for seed in range(10):
        tails = [np.array(draw_animal(np.random.default_rng(seed), kind).shapes[-1].points) for kind in (0, 1)]
        cat, dog = (np.linalg.norm(np.diff(tail, axis=0), axis=1).sum() for tail in tails)
        assert cat > 0.85 > 0.5 > dog


def test_the_colours_of_animal_and_ground_are_never_alike(monkeypatch):
    """Of two colours drawn at random, several of a hundred pairs are."""
    drawn = []

    def record(rng, colour, centres):
        drawn.append(colour)
        return np.zeros((*centres[0].shape, 3))

    monkeypatch.setattr(shapes, "textured", record)
    for seed in range(100):
        drawn.clear()
        paint(np.random.default_rng(seed), np.zeros((4, 4)), pixel_centres(4))
        assert np.linalg.norm(drawn[0] - drawn[-1]) >= LEAST_CONTRAST


def test_a_texture_changes_a_colour_along_one_direction_of_colours():
    x = pixel_centres(48)
    colour = np.array([0.4, 0.5, 0.6])
    painted = textured(np.random.default_rng(3), colour, x).reshape(-1, 3)
    np.testing.assert_allclose(painted.mean(axis=0), colour, atol=0.05)
    spread = np.linalg.svd(painted - painted.mean(axis=0), compute_uv=False)
    assert spread[1] < 1e-3 * spread[0]
    assert painted.std() > 0.01


def test_things_on_the_ground_are_stones_and_sticks_of_their_sizes():
    x, y = pixel_centres(64)
    shares = [thing(np.random.default_rng(seed), (x, y)) for seed in range(80)]
    assert all((share >= 0).all() and (share <= 1).all() for share in shares)
    areas = np.array([share.mean() * 4 for share in shares])  # of the picture, which is 2 x 2
    assert areas.max() < np.pi * 0.3**2 + 0.3
    assert len({share.tobytes() for share in shares}) == len(shares)
    elongated = []
    for share in shares:
        places = np.argwhere(share > 0.5)
        if len(places) > 60:
            spread = np.linalg.eigvalsh(np.cov(places.T))
            elongated.append(np.sqrt(spread[1] / spread[0]) > 3.5)
    assert 0.1 < np.mean(elongated) < 0.9, "some are sticks, and not all"


def test_light_is_a_ramp_over_the_whole_picture_and_animal_and_ground_are_two_colours():
    """Divided by its mean colours the picture has a slope of at most a quarter from one side to the middle."""
    x, y = pixel_centres(64)
    share = (np.hypot(x, y) < 0.6).astype(np.float32)
    gaps, slopes = [], []
    for seed in range(30):
        painted = paint(np.random.default_rng(seed), share, (x, y))
        assert painted.shape == (64, 64, 3)
        gaps.append(np.linalg.norm(painted[share == 1].mean(axis=0) - painted[share == 0].mean(axis=0)))
        inside = painted[share == 1].mean(axis=1)
        plane = np.column_stack([x[share == 1], y[share == 1], np.ones(inside.size)])
        fit = np.linalg.lstsq(plane, inside, rcond=None)[0]
        slopes.append(np.linalg.norm(fit[:2]) / fit[2])
    assert np.median(gaps) > LEAST_CONTRAST
    assert 0.05 < np.median(slopes) < 0.3
    assert max(slopes) < 0.6
