"""What columns of tables and rows of data sets are taken for, by numbers worked out by hand."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.planning.rows import (
    MOST_CLASSES,
    hdf5_sources,
    hdf5_values,
    is_point,
    is_values,
    photo_attributes,
    table_tasks,
)
from sfgkeras.applications.planning.sources import name_apart

from .conftest import Drawn


def table(**columns):
    """Returns rows by subject of columns of texts."""
    number = len(next(iter(columns.values())))
    return {f"s{i}": {name: str(texts[i]) for name, texts in columns.items()} for i in range(number)}


def only(**column):
    """Returns the one task that a table of one column has, None where it has none."""
    tasks, notes = table_tasks(table(**column))
    assert len(tasks) + len(notes) == 1
    return tasks[0] if tasks else None


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["0", "1", "1", "0"], 2),
        (["0", "1"], 2),  # two subjects of two classes
        (["0.0", "2", "1", "0", "1", "2"], 3),
        (["0", "5", "0", "5"], 6),  # numbers count from 0
        (["0", "1", "2", "0", "1"], None),  # 3 of 5: hardly classes
        (["-1", "1", "1", "-1"], None),
        (["0", "1.5", "1", "0"], None),
        ([str(number) for number in range(MOST_CLASSES)] * 2, MOST_CLASSES),
        ([str(number) for number in range(MOST_CLASSES + 1)] * 2, None),
    ],
)
def test_few_whole_numbers_are_classes_and_others_a_quantity(texts, classes):
    task = only(grade=texts)
    assert (task.type, task.classes) == (("classification", classes) if classes else ("regression", 0))
    assert task.columns == ("grade",)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["0", "1", "3", ""]), min_size=1, max_size=20))
def test_shares_of_classes_add_up_without_the_empty_cells(texts):
    values = [int(text) for text in texts if text]
    task = only(grade=texts)
    if len(set(values)) < 2:
        assert task is None
        return
    assert task.num_missing == texts.count("")
    if task.type == "regression":
        assert task.span == (min(values), max(values))
        return
    assert task.weight_of_class == {value: values.count(value) / len(values) for value in sorted(set(values))}
    assert sum(task.weight_of_class.values()) == pytest.approx(1)


@pytest.mark.parametrize("texts", [["a", "b", "c"], ["1", "two", "3"], ["7", "7", "7"], ["", "", ""], ["1", "", ""]])
def test_a_column_of_texts_or_of_one_value_is_not_learned(texts):
    tasks, notes = table_tasks(table(remark=texts))
    assert not tasks
    assert notes[0].startswith("column 'remark' holds texts")


@pytest.mark.parametrize("odd", ["nan", "NaN", "inf", "-Infinity"])
@pytest.mark.parametrize("place", [0, 2])
def test_a_cell_that_is_no_number_to_learn_keeps_the_column_out_and_the_remedy_is_told(odd, place):
    texts = ["40.5", "50.25", "61"]
    texts[place] = odd
    tasks, notes = table_tasks(table(age=texts))
    assert not tasks
    assert "'age'" in notes[0]
    assert "leave the cell of a missing value empty" in notes[0]


@pytest.mark.parametrize("axes", ["xy", "xyz"])
def test_corners_in_columns_are_a_box_and_nothing_else(axes):
    columns = {f"{axis}_{end}": ["1", "2", "3"] for end in ("min", "max") for axis in axes}
    tasks, notes = table_tasks(table(**columns, age=["1.5", "2.5", "3.5"]))
    assert [(task.name, task.type) for task in tasks] == [("box", "bounding_box"), ("age", "regression")]
    assert set(tasks[0].columns) == set(columns)
    assert [name.split("_")[0] for name in tasks[0].columns] == [*axes, *axes]
    assert not notes


def test_points_take_their_own_columns_and_leave_the_others():
    names = ("nose_x", "nose_y", "nose_visible", "ear_x", "ear_y", "ear_z", "weight_x", "y", "_x", "_y")
    tasks, _ = table_tasks(table(**{name: ["1.5", "2.5"] for name in names}))
    assert [(task.name, task.columns) for task in tasks if task.type == "landmarks"] == [("landmarks", ("nose", "ear"))]
    assert [task.name for task in tasks if task.type != "landmarks"] == ["weight_x", "y", "_x", "_y"]
    assert tasks[0].why == "2 points, columns nose_x, nose_y and so on"


@pytest.mark.parametrize(
    ("column", "expected"), [("a_x", True), ("b_x", False), ("_x", False), ("a", False), ("a_y", False)]
)
def test_an_x_is_a_points_where_its_y_is_there(column, expected):
    assert is_point(column, ["a_x", "a_y", "b_x", "_x", "_y", "a"]) == expected


def write_hdf5(path, **data_sets):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in data_sets.items():
            file[name] = array
    return path


IMAGES = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)


def test_files_of_one_name_in_folders_of_phases_are_one_source(tmp_path):
    paths = [write_hdf5(tmp_path / phase / "images.h5", images=IMAGES[:n]) for phase, n in (("train", 3), ("test", 1))]
    (source,), problems = hdf5_sources(paths)
    assert not problems
    assert Counter(image.phase for image in source.images.values()) == {"training": 3, "inference": 1}
    assert source.keys["hdf5_file"] == "images.h5"
    assert Path(source.keys["path_to_search"]) == tmp_path


def test_a_folder_whose_name_is_no_phase_of_the_loaders_holds_a_source_of_its_own(tmp_path):
    folders = {"train": 3, "Test": 1, "more": 2}
    sources, _ = hdf5_sources([write_hdf5(tmp_path / f / "images.h5", images=IMAGES[:n]) for f, n in folders.items()])
    assert [len(source.images) for source in sources] == [3, 1, 2]
    name_apart(sources)
    assert [source.name for source in sources] == ["IMAGES", "IMAGES_2", "IMAGES_3"]


def test_a_file_called_like_a_section_or_with_a_digit_first_has_another_name_in_the_ini_file(tmp_path):
    names = ("training", "2d", "task")
    sources, _ = hdf5_sources([write_hdf5(tmp_path / f"{name}.h5", images=IMAGES) for name in names])
    name_apart(sources)
    assert [source.name for source in sources] == ["IMAGES_TRAINING", "IMAGES_2D", "IMAGES_TASK"]


def test_each_data_set_is_a_source_but_ids_and_affines(tmp_path):
    ids = np.array([b"anna", b"ben", b"cleo", b"dora"])
    path = write_hdf5(
        tmp_path / "all.h5", images=IMAGES, images_affine=np.tile(np.eye(4), (4, 1, 1)), ids=ids, grade=[0, 1, 0, 1]
    )
    sources, problems = hdf5_sources([path])
    assert not problems
    assert {source.name: is_values(source) for source in sources} == {"IMAGES": False, "GRADE": True}
    for source in sources:
        assert list(source.images) == ["anna", "ben", "cleo", "dora"]
        assert source.keys["hdf5_ids"] == "ids"
        assert source.keys["hdf5_dataset"] == source.name.lower()


def test_a_damaged_file_is_told_and_the_others_are_read(tmp_path):
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"no HDF5")
    sources, problems = hdf5_sources([broken, write_hdf5(tmp_path / "good.h5", images=IMAGES)])
    assert [source.name for source in sources] == ["GOOD"]
    (problem,) = problems
    assert str(broken) in problem


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("boxes", [[0, 0, 3, 3], [1, 1, 4, 4]], ("bounding_box", ("x_min", "y_min", "x_max", "y_max"))),
        ("bbox", [[0, 0, 0, 3, 3, 3]] * 2, ("bounding_box", ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max"))),
        ("scores", [[0, 0, 3, 3], [1, 1, 4, 4]], None),  # four numbers that are called nothing
        ("age", [[40.5], [50.5]], ("regression", None)),
        ("grade", [0, 1], ("classification", None)),
        ("same", [1, 1], None),
    ],
)
def test_rows_of_a_data_set(name, rows, expected, tmp_path):
    (source,), _ = hdf5_sources([write_hdf5(tmp_path / f"{name}.h5", **{name: np.array(rows)})])
    told = hdf5_values(source)
    if expected is None:
        assert told is None
        return
    assert told.type == expected[0]
    assert expected[1] is None or told.columns == expected[1]


@pytest.mark.parametrize(("odd", "expected"), [(0, True), (1, True), (2, False)])
def test_names_of_photos_list_attributes_where_nine_of_ten_do(odd, expected):
    names = [f"{20 + n}_{n % 2}_0_20170116174525125.jpg" for n in range(10 - odd)] + [
        f"photo{n}.jpg" for n in range(odd)
    ]
    images = {name: Drawn(name, np.zeros((2, 2, 1, 3)), as_photo=True) for name in names}
    assert photo_attributes(images) == expected
