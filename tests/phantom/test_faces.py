"""Faces of ellipses: landmarks lie on what is drawn, move with the pose, and are hidden where they cannot be seen."""

import csv

import numpy as np
import pytest
from PIL import Image

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError
from sfgkeras.phantom.faces import (
    ATTRIBUTES,
    FACING,
    HEAD,
    HIDDEN,
    LANDMARKS,
    LARGEST_ANGLES,
    NOSE,
    POSE,
    UNMARKED,
    Face,
    build_face,
    columns,
    turned_landmarks,
    write_faces,
)


@pytest.fixture(scope="module")
def faces():
    return [build_face(5, subject) for subject in range(60)]


def test_pupils_are_dark_and_lips_red_where_landmarks_say(faces):
    found = []
    for face in (face for face in faces if face.is_face):
        for (x, y), name in zip(face.points, LANDMARKS, strict=True):
            if np.isfinite(x):
                found.append((name, face.image[int(y), int(x)].astype(float), face.image.astype(float).mean()))
    pupils = [colour.mean() < 0.55 * mean for name, colour, mean in found if name.endswith("eye")]
    lips = [colour[0] > 1.5 * colour[1:].max() for name, colour, _ in found if name.startswith("mouth")]
    assert len(pupils) > 50
    assert np.mean(pupils) > 0.95
    assert np.mean(lips) > 0.9


def test_landmarks_lie_in_the_picture_and_are_unknown_where_they_are_not_visible(faces):
    for face in faces:
        np.testing.assert_array_equal(np.isfinite(face.points).all(axis=1), face.visible)
        assert np.nanmin(face.points, initial=24) >= 0
        assert np.nanmax(face.points, initial=24) <= 48
    shown = [face for face in faces if face.is_face]
    assert 0.6 < len(shown) / len(faces) < 0.9
    assert 0.5 < np.mean([face.visible.mean() for face in shown]) < 1
    assert {face.is_marked for face in shown} == {True, False}


def test_a_turn_of_the_head_moves_its_parts_and_hides_those_behind_it():
    names = list(LANDMARKS)
    ahead, facing = turned_landmarks(np.zeros(3))
    np.testing.assert_allclose(ahead, list(LANDMARKS.values()))
    right, right_facing = turned_landmarks(np.array([0.0, 0.0, 40.0]))
    # The nose stands out: it moves further to the right than the eyes' middle; the eye on that side turns away.
    middle = [(points[0] + points[1]) / 2 for points in (ahead, right)]
    assert right[2, 0] - ahead[2, 0] > middle[1][0] - middle[0][0] > 0
    assert right_facing[names.index("right_eye")] < facing[1] < right_facing[names.index("left_eye")]
    up, _ = turned_landmarks(np.array([0.0, 20.0, 0.0]))
    assert up[2, 1] > ahead[2, 1]
    # A roll by a quarter takes x to y and y to minus x.
    rolled, _ = turned_landmarks(np.array([90.0, 0.0, 0.0]))
    np.testing.assert_allclose(rolled, np.column_stack([-ahead[:, 1], ahead[:, 0]]), atol=1e-12)


def test_the_table_says_what_is_drawn_and_nothing_where_there_is_no_face(tmp_path):
    files = write_faces(tmp_path, 20, seed=5)
    with (tmp_path / "subjects.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["subject_id", *columns()]
    for number, row in enumerate(rows):
        face = build_face(5, number)
        image = np.asarray(Image.open(tmp_path / "images" / f"{row['subject_id']}.png"))
        np.testing.assert_array_equal(image, face.image)
        assert row["face"] == str(int(face.is_face))
        if not face.is_face:
            assert not any(list(row.values())[2:])
        elif face.is_marked:
            assert [row[f"{name}_visible"] for name in LANDMARKS] == [str(int(each)) for each in face.visible]
            marked = [float(row["nose_x"] or "nan"), float(row["nose_y"] or "nan")]
            np.testing.assert_allclose(marked, face.points[2], atol=0.01)
            assert float(row["yaw"]) == pytest.approx(face.angles[2], abs=0.01)
    assert sum(len(ids) for ids in read_split(tmp_path / "split.csv").values()) == 20
    assert {path.name for path in files} >= {"subjects.csv", "split.csv", "face_0000.png"}
    with pytest.raises(DataError, match="exists already"):
        write_faces(tmp_path, 20, seed=5)


def test_other_seeds_draw_other_faces_and_unknown_sizes_are_refused():
    assert not np.array_equal(build_face(0).image, build_face(1).image)
    np.testing.assert_array_equal(build_face(3, 7).image, build_face(3, 7).image)
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_face(0, size="huge")


def a_face(is_face=True, is_marked=True, visible=(1, 1, 0, 1, 1)):
    visible = np.array(visible, bool)
    points = np.where(visible[:, None], np.arange(10).reshape(5, 2) + 0.125, np.nan)
    return Face(np.zeros((4, 4, 3)), is_face, points, visible, is_marked, np.array([1.0, -2.004, 30.006]), (1, 0, 1))


def test_a_row_says_what_is_known_and_no_more():
    names = columns()
    assert names[:7] == ["face", *ATTRIBUTES, *POSE]
    assert names[7:10] == ["left_eye_x", "left_eye_y", "left_eye_visible"]
    row = dict(zip(names, a_face().row(), strict=True))
    assert [row[name] for name in ("face", "gender", "smile", "glasses")] == ["1", "1", "0", "1"]
    assert [row[name] for name in POSE] == ["1.00", "-2.00", "30.01"]
    assert [row[f"right_eye_{what}"] for what in ("x", "y", "visible")] == ["2.12", "3.12", "1"]
    assert [row[f"nose_{what}"] for what in ("x", "y", "visible")] == ["", "", "0"]
    unmarked = dict(zip(names, a_face(is_marked=False).row(), strict=True))
    assert unmarked["yaw"] == "30.01"
    assert {unmarked[name] for name in names[7:]} == {""}
    nothing = dict(zip(names, a_face(is_face=False).row(), strict=True))
    assert nothing.pop("face") == "0"
    assert set(nothing.values()) == {""}


def test_landmarks_are_seen_where_the_head_that_is_turned_has_them():
    """Against a turn about one axis at a time: x' = x cos + z sin by the yaw, y' = y cos + z sin by the pitch."""
    seen = np.array(list(LANDMARKS.values()))
    depth = HEAD[2] * np.sqrt(1 - (seen[:, 0] / HEAD[0]) ** 2 - (seen[:, 1] / HEAD[1]) ** 2)
    depth[2] += NOSE
    for degrees in (-50.0, 20.0, 35.0):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        yawed, _ = turned_landmarks(np.array([0.0, 0.0, degrees]))
        np.testing.assert_allclose(yawed, np.column_stack([cosine * seen[:, 0] + sine * depth, seen[:, 1]]))
        pitched, _ = turned_landmarks(np.array([0.0, degrees, 0.0]))
        np.testing.assert_allclose(pitched, np.column_stack([seen[:, 0], cosine * seen[:, 1] + sine * depth]))


def test_a_roll_turns_a_face_that_looks_ahead_and_hides_nothing():
    straight, facing = turned_landmarks(np.zeros(3))
    for roll in (-25.0, 10.0):
        turn = np.exp(1j * np.radians(roll))
        rolled, same = turned_landmarks(np.array([roll, 0.0, 0.0]))
        np.testing.assert_allclose(rolled @ (1, 1j), turn * (straight @ (1, 1j)))
        np.testing.assert_allclose(same, facing)


def test_parts_face_the_camera_by_the_slope_of_the_head_there():
    """The normal of the ellipsoid is the gradient of its equation, here by finite differences."""

    def level(x, y, z):
        return np.square(np.array([x, y, z]) / HEAD).sum()

    _, facing = turned_landmarks(np.zeros(3))
    for (x, y), found in zip(LANDMARKS.values(), facing, strict=True):
        z = HEAD[2] * np.sqrt(1 - (x / HEAD[0]) ** 2 - (y / HEAD[1]) ** 2)
        step = 1e-6
        gradient = [
            level(x + step, y, z) - level(x - step, y, z),
            level(x, y + step, z) - level(x, y - step, z),
            level(x, y, z + step) - level(x, y, z - step),
        ]
        assert found == pytest.approx(gradient[2] / np.linalg.norm(gradient), abs=1e-6)


def test_half_of_a_face_from_the_side_is_hidden_by_the_other_half():
    _, facing = turned_landmarks(np.array([0.0, 0.0, 60.0]))
    names = np.array(list(LANDMARKS))
    assert set(names[facing > FACING]) == {"left_eye", "mouth_left", "nose"}
    _, away = turned_landmarks(np.array([0.0, 0.0, 180.0]))
    assert (away < 0).all()


def test_poses_fill_their_ranges_and_parts_of_the_faces_are_unmarked_or_behind_a_hand():
    faces = [build_face(1, subject) for subject in range(100)]
    angles = np.array([face.angles for face in faces])
    assert (np.abs(angles) <= LARGEST_ANGLES).all()
    assert (np.abs(angles).max(axis=0) > np.multiply(0.9, LARGEST_ANGLES)).all()
    assert np.mean([not face.is_marked for face in faces]) == pytest.approx(UNMARKED, abs=0.08)
    attributes = np.array([face.attributes for face in faces])
    np.testing.assert_allclose(attributes.mean(axis=0), 0.5, atol=0.15)
    ahead = [face for face in faces if face.is_face and abs(face.angles[2]) < 25]
    covered = np.mean([not face.visible.all() for face in ahead])
    assert 0.2 * HIDDEN < covered < 1.5 * HIDDEN, "facing the camera, only a hand hides a part"


@pytest.fixture(scope="module")
def portraits():
    """Large faces that look about ahead, all parts seen."""
    drawn = [build_face(2, subject, "full") for subject in range(70)]
    return [face for face in drawn if face.is_face and face.visible.all() and abs(face.angles[2]) < 25]


def in_face(face, along, down):
    """The colour at a place given from the mouth's middle in mouth widths: along it, and down from it."""
    left, right = face.points[3:]
    across = right - left
    place = (left + right) / 2 + along * across + down * np.array([-across[1], across[0]])
    column, row = (int(np.clip(value, 0, face.image.shape[0] - 1)) for value in place)
    return face.image[row, column].astype(float)


def test_a_smile_bends_the_mouth_downwards_between_its_corners(portraits):
    """A smile's lowest place lies 0.15 below its corners at heads of size 1, a third of the mouth's width of 0.44."""
    red = {0: [], 1: []}
    for face in portraits:
        on, below = in_face(face, 0.0, 0.0), in_face(face, 0.0, 0.31)
        red[face.attributes[1]].append((on[0] / on[1], below[0] / below[1]))
    on, below = np.median(red[0], axis=0)
    assert on > 3 > 2 > below
    on, below = np.median(red[1], axis=0)
    assert below > 3 > 2 > on


def test_glasses_are_rings_around_the_eyes_that_are_seen(portraits):
    blue = {0: [], 1: []}
    for face in portraits:
        eye, other = face.points[:2]
        radius = 0.19 / 0.54 * np.linalg.norm(other - eye)
        upwards = np.array([other[1] - eye[1], eye[0] - other[0]]) / np.linalg.norm(other - eye)
        column, row = (eye + radius * upwards).astype(int)
        colour = face.image[row, column].astype(float)
        blue[face.attributes[2]].append(colour[2] > colour[0])
    assert np.mean(blue[0]) < 0.1
    assert np.mean(blue[1]) > 0.8


def test_pictures_of_both_sizes_show_the_same_landmarks():
    for subject in range(4):
        small, full = build_face(4, subject), build_face(4, subject, "full")
        assert full.image.shape == (128, 128, 3)
        np.testing.assert_allclose(full.angles, small.angles)
        assert full.attributes == small.attributes
