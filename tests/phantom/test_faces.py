"""Faces of ellipses: landmarks lie on what is drawn, move with the pose, and are hidden where they cannot be seen."""

import csv

import numpy as np
import pytest
from PIL import Image

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError
from sfgkeras.phantom.faces import LANDMARKS, build_face, columns, turned_landmarks, write_faces


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
