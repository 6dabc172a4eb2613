"""Bounding boxes: from a table to what a network learns, and from its outputs back to the pixels of a photo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.tasks.bounding_box import BoundingBoxTask, box_mask, box_parts
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.points import Frame, points_between
from sfgkeras.errors import DataError

PHOTO = Frame((100, 200, 1), (1, 0, 2))
"""100 rows, 200 columns."""


def task_of(attribute="x_min, y_min, x_max, y_max", **settings):
    section = Task(type="bounding_box", target="BOXES", attribute=attribute, **{"loss": "mse", **settings})
    return BoundingBoxTask("box", "BOXES", section, InputSource(loader="table"))


def same(points):
    return np.asarray(points)


def test_a_box_of_a_photo_counts_columns_to_the_right_and_rows_down():
    # Columns 20 to 59 and rows 10 to 29 of the array, drawn and found again.
    photo = np.zeros((100, 200), bool)
    photo[10:30, 20:60] = True
    task = task_of()
    placed = task.place(task.prepare_value("20", "10", "60", "30"), same, PHOTO)
    rows, columns = np.nonzero(photo)
    assert placed[:2].tolist() == [rows.min() - 0.5, columns.min() - 0.5]
    assert placed[3:5].tolist() == [rows.max() + 0.5, columns.max() + 0.5]
    assert placed[[2, 5]].tolist() == [-0.5, 0.5]


def test_a_box_of_a_volume_counts_along_the_axes_of_its_array():
    task = task_of("x_min, y_min, z_min, x_max, y_max, z_max")
    assert task.parts == ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
    placed = task.place(task.prepare_value("1", "2", "3", "4", "6", "9"), same, Frame((10, 11, 12)))
    assert placed.tolist() == [0.5, 1.5, 2.5, 3.5, 5.5, 8.5]


def test_fractions_and_pixels_of_one_box_are_learned_alike():
    pixels, fractions = task_of(), task_of(units="fractions")
    first = pixels.place(pixels.prepare_value("20", "10", "60", "30"), same, PHOTO)
    second = fractions.place(fractions.prepare_value("0.1", "0.1", "0.3", "0.3"), same, PHOTO)
    np.testing.assert_allclose(first, second)
    np.testing.assert_allclose(fractions.as_written(np.array([0.1, 0.1, 0.3, 0.3]), PHOTO), [20, 10, 60, 30])


def test_it_is_learned_as_fractions_of_the_window_along_its_axes():
    task = task_of()
    placed = task.place(task.prepare_value("20", "10", "60", "30"), same, PHOTO)
    learned = task.move(placed, lambda points: points[:, :2], (100, 200))
    assert learned.dtype == np.float32
    np.testing.assert_allclose(learned, [0.1, 0.1, 0.3, 0.3], rtol=1e-6)
    # A window of rows 0 to 19 and columns 40 to 239 shows a part of it, and one further right nothing.
    np.testing.assert_allclose(task.move(placed, lambda p: p[:, :2] - [0, 40], (20, 200)), [0.5, 0, 1, 0.1], rtol=1e-6)
    assert np.isnan(task.move(placed, lambda points: points[:, :2] - [0, 60], (20, 200))).all()


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_learned_of_a_whole_photo_comes_back_as_it_was(data):
    height, width = data.draw(st.integers(2, 300)), data.draw(st.integers(2, 300))
    x_min, y_min = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    x_max, y_max = data.draw(st.integers(x_min + 2, width)), data.draw(st.integers(y_min + 2, height))
    size, frame, task = (32, 48), Frame((height, width, 1), (1, 0, 2)), task_of()
    scale = np.array(size) / (height, width)

    def to_window(points):
        return (points[:, :2] + 0.5) * scale - 0.5

    def to_file(points):
        return np.column_stack([(points + 0.5) / scale - 0.5, np.zeros(len(points))])

    placed = task.place(task.prepare_value(*map(str, (x_min, y_min, x_max, y_max))), same, frame)
    row = task.finish_points(task.move(placed, to_window, size), to_file, size, frame)
    assert list(row) == ["box_x_min", "box_y_min", "box_x_max", "box_y_max"] == list(task.columns)
    np.testing.assert_allclose(list(row.values()), [x_min, y_min, x_max, y_max], atol=1e-3)


def test_a_box_of_a_turned_and_resampled_volume_comes_back_to_its_own_voxels():
    task, frame = task_of("a, b, c, d, e, f"), Frame((20, 30, 40))
    own = np.diag([2.0, 1.0, 3.0, 1.0])
    grid = np.array([[0, -1.0, 0, 40], [1.0, 0, 0, -3], [0, 0, 1.5, 5], [0, 0, 0, 1]])
    numbers = task.prepare_value("2", "3", "4", "10", "20", "30")
    placed = task.place(numbers, points_between(own, grid), frame)
    size = (64, 64, 64)
    learned = task.move(placed, same, size)
    row = task.finish_points(learned, points_between(grid, own), size, frame)
    np.testing.assert_allclose(list(row.values()), numbers, atol=1e-4)


def test_a_predicted_box_turned_inside_out_is_set_right():
    row = task_of().finish_points(
        np.array([0.3, 0.3, 0.1, 0.1]), lambda p: np.column_stack([p, np.zeros(len(p))]), (100, 200), PHOTO
    )
    np.testing.assert_allclose(list(row.values()), [20, 10, 60, 30], atol=1e-9)


def test_the_spread_of_each_number_is_in_pixels():
    # Passes say 0.1 and 0.3 for the left edge, and agree on the rest.
    task, size = task_of(), (10, 20)
    statistics = task.build_statistics()
    for left in (0.1, 0.3):
        statistics.add(np.array([[0.1, left, 0.5, 0.9]], np.float32))
    spread = {ending: values[0] for ending, values in statistics.spread().items()}

    def to_file(points):
        return np.column_stack([points * 10, np.zeros(len(points))])

    row = task.finish_points_spread(spread, to_file, size, PHOTO)
    assert list(row) == ["box_x_min_std", "box_y_min_std", "box_x_max_std", "box_y_max_std"]
    np.testing.assert_allclose(list(row.values()), [np.std([0.1, 0.3], ddof=1) * 200, 0, 0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("60", "10", "20", "30"), r"\[BOXES\] x_min = 60 is not below x_max = 20; correct the box, or the order"),
        (("20", "30", "60", "30"), r"\[BOXES\] y_min = 30 is not below y_max = 30"),
        (("20", "", "60", "30"), r"\[BOXES\] y_min = '' is not a number"),
        (("200", "10", "260", "30"), r"the box 200, 10, 260, 30 lies outside of the image of 200 x 100 pixels"),
        (("-60", "10", "0", "30"), "lies outside of the image"),
        (
            ("0.1", "0.1", "0.9", "0.5"),
            r"is within one of the 200 x 100 pixels; write units = fractions in \[TASK box\]",
        ),
    ],
)
def test_boxes_that_cannot_be_are_refused(texts, message):
    task = task_of()
    with pytest.raises(DataError, match=message):
        task.as_written(task.prepare_value(*texts), PHOTO)


def test_fractions_that_are_pixels_are_refused():
    task = task_of(units="fractions")
    with pytest.raises(DataError, match=r"units = fractions\); correct it, or write units = pixels"):
        task.as_written(task.prepare_value("20", "10", "60", "30"), PHOTO)


def test_boxes_are_measured_one_by_one():
    class Section:
        evaluations = ("box_iou", "mae", "centre_distance")

    truth = np.array([[0, 0, 2, 2], [0, 0, 4, 4]])
    rows = task_of().evaluate_values(truth, np.array([[1, 1, 3, 3], [0, 0, 4, 4]]), Section())
    assert rows == [
        {"box_iou": pytest.approx(1 / 7), "centre_distance": pytest.approx(2**0.5)},
        {"box_iou": 1.0, "centre_distance": 0.0},
    ]


def test_a_mask_holds_the_voxels_whose_centres_lie_in_the_box():
    low, high = np.array([0.2, -0.5, 2.0]), np.array([2.9, 1.5, 3.1])
    places = np.moveaxis(np.indices((5, 4, 6)), 0, -1)
    inside = ((places >= low) & (places <= high)).all(axis=-1)
    np.testing.assert_array_equal(box_mask(np.concatenate([low, high]), (5, 4, 6)), inside)


def test_names_of_parts():
    assert box_parts(2) == ("x_min", "y_min", "x_max", "y_max")
    assert task_of("left, top, right, bottom").attributes == ("left", "top", "right", "bottom")
    assert task_of("left, top, right, bottom").columns == ("box_x_min", "box_y_min", "box_x_max", "box_y_max")
