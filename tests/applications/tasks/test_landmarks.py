"""Landmarks of a subject: from millimetres to what a network learns, and back, on synthetic and real volumes."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from sfgkeras.applications.inference.values import finish_row
from sfgkeras.applications.subjects.frames import read_as_written
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.tasks.landmarks import LandmarkTask
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.applications.training.network import build_heads
from sfgkeras.config import read_config
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.heat_maps import locate
from sfgkeras.data.points import Frame, points_between
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.networks.heads import Head
from sfgkeras.reporter import SilentReporter
from sfgkeras.tables.tasks import LandmarkSettings

PHOTO = Frame((100, 200, 1), (1, 0, 2))
"""100 rows, 200 columns."""


def task_of(attribute="eye, nose", dimensions=2, loss="heat_map", **keys):
    section = Task(type="landmarks", target="POINTS", attribute=attribute, loss=loss, **keys)
    section = section.with_settings("type", LandmarkSettings(dimensions))
    return LandmarkTask("p", "POINTS", section, InputSource(loader="table"))


def random_affine(seed):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * rng.uniform(0.5, 3, 3), rng.uniform(-50, 50, 3)
    return affine


def test_pixels_count_from_the_outer_edge_columns_to_the_right_and_rows_down():
    task = task_of()
    assert task.attributes == ("eye_x", "eye_y", "nose_x", "nose_y", "eye_visible", "nose_visible")
    placed = task.place(task.prepare_value("20.5", "10.5", "3", "4", "", "0"), np.asarray, PHOTO).reshape(2, 4)
    assert placed.tolist() == [[10, 20, 0, 1], [0, 0, 0, 0]]  # array row 10, column 20; the nose is hidden
    learned = task.move(placed, lambda points: points[:, :2], (100, 200))
    np.testing.assert_allclose(learned[0], [10.5 / 100, 20.5 / 200], rtol=1e-6)
    assert np.isnan(learned[1]).all()
    written = task.as_written(task.prepare_value("20.5", "10.5", "", "", "1", "1"), PHOTO)
    np.testing.assert_array_equal(written, [20.5, 10.5, np.nan, np.nan])
    fractions = task_of(units="fractions")
    np.testing.assert_allclose(
        fractions.as_written(fractions.prepare_value("0.5", "0.1", "", "", "", ""), PHOTO)[:2], [100, 10]
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_millimetres_of_any_volume_come_back_from_the_grid_of_the_network(seed):
    native, grid, rng = random_affine(seed), random_affine(seed + 1), np.random.default_rng(seed)
    frame, task = Frame((20, 30, 40), affine=native), task_of(dimensions=3, units="mm")
    voxels = rng.uniform(0, (19, 29, 39), (2, 3))
    mm = points_between(native, np.eye(4))(voxels)
    numbers = task.prepare_value(*map(repr, mm.ravel().tolist()), "", "1")
    placed = task.place(numbers, points_between(native, grid), frame).reshape(2, 4)
    np.testing.assert_allclose(placed[:, :3] @ grid[:3, :3].T + grid[:3, 3], mm, atol=1e-6)
    np.testing.assert_allclose(task.as_written(numbers, frame), mm.ravel(), atol=1e-6)
    size = (20, 30, 40)
    outputs = np.column_stack([(voxels + 0.5) / size, [0.9, 0.8]]).ravel()
    row = task.finish_points(outputs, np.asarray, size, frame)
    np.testing.assert_allclose([row[column] for column in task.columns], mm.ravel(), atol=1e-6)
    assert (row["p_eye_peak"], row["p_nose_peak"]) == (0.9, 0.8)
    # A spread along one axis of the window is one along that axis in mm.
    spread = task.finish_points_spread({"_std": np.array([0.1, 0, 0, 0.2, 0, 0, 0.05, 0])}, np.asarray, size, frame)
    np.testing.assert_allclose([spread[f"p_eye_{axis}_std"] for axis in "xyz"], np.abs(native[:3, 0]) * 2, rtol=1e-5)
    np.testing.assert_allclose([spread[f"p_nose_{axis}_std"] for axis in "xyz"], np.abs(native[:3, 2]) * 2, rtol=1e-5)
    assert spread["p_eye_peak_std"] == 0.2


def test_what_a_window_does_not_show_is_away_for_heat_maps_and_unknown_as_coordinates():
    numbers = np.array([5.0, 5, 0, 1, 50, 50, 0, 1, 0, 0, 0, 0])
    for loss, expected in (("heat_map", [0.55, 5.05]), ("landmarks", [0.55, np.nan])):
        learned = task_of("a, b, c", loss=loss).move(numbers, lambda points: points[:, :2], (10, 10))
        np.testing.assert_allclose(learned[:2, 0], expected, rtol=1e-6)
        assert np.isnan(learned[2]).all()

    def beside_a_slice(points):
        return np.full((len(points), 2), np.nan)

    assert (task_of("a, b, c").move(numbers, beside_a_slice, (10, 10))[:2] < -100).all()
    assert np.isnan(task_of("a, b, c", loss="landmarks").move(numbers, beside_a_slice, (10, 10))).all()


def test_mistakes_of_a_table_are_named():
    task = task_of()
    for texts, message in (
        (("1", "", "2", "3", "", ""), "eye_y is empty and other coordinates of landmark 'eye' are not"),
        (("1", "two", "2", "3", "", ""), "eye_y = 'two' is not a number"),
        (("1", "2", "2", "3", "", "yes"), "nose_visible = 'yes' is not a number"),
    ):
        with pytest.raises(DataError, match=message):
            task.prepare_value(*texts)
    with pytest.raises(DataError, match=r"landmark 'eye' at 500, 1 lies outside of the image of 200 x 100 voxels"):
        task.as_written(task.prepare_value("500", "1", "", "", "", ""), PHOTO)
    with pytest.raises(DataError, match="the image has 4 slices; write landmarks_dimensions = 3"):
        task.as_written(task.prepare_value("5", "1", "", "", "", ""), Frame((10, 10, 4)))


def test_a_measure_has_a_row_for_each_landmark_and_none_where_it_is_unknown():
    class Evaluation:
        evaluations, surface_tolerance = (), 2.0

    truth, found = np.array([[0.0, 0, 1, 1], [np.nan, np.nan, 5, 5]]), np.array([[3.0, 4, 1, 2], [0, 0, 5, 5]])
    rows = task_of().evaluate_values(truth, found, Evaluation)
    assert [row["label"] for row in rows] == ["eye", "nose", "eye", "nose"]
    np.testing.assert_array_equal([row["radial_error"] for row in rows], [5, 1, np.nan, 0])
    np.testing.assert_array_equal([row["detection_rate"] for row in rows], [0, 1, np.nan, 1])


def test_a_length_is_a_row_of_its_own_and_a_result_in_millimetres():
    class Evaluation:
        evaluations, surface_tolerance = (), 2.0

    section = _with_lengths(task_of("a, b, c").settings, "long: a, c; short: b, a")
    task = LandmarkTask("p", "POINTS", section, InputSource(loader="table"))
    truth = np.array([[0.0, 0, 3, 4, 6, 8], [np.nan, np.nan, 0, 0, 1, 1]])
    found = np.array([[0.0, 0, 3, 0, 6, 8], [0, 0, 0, 0, 1, 1]])
    rows = task.evaluate_values(truth, found, Evaluation)
    assert [row["label"] for row in rows] == ["a", "b", "c", "long", "short"] * 2
    np.testing.assert_array_equal([rows[i]["length_error"] for i in (3, 4, 8, 9)], [0, 2, np.nan, np.nan])
    assert "length_error" not in rows[0]
    assert "radial_error" not in rows[3]
    # Fractions of a window that is the photo; its pixels are 1 mm wide.
    points = np.array([[0.0, 0.0, 0.5, 1.0], [0.3, 0.0, 0.5, 1.0], [0.3, 0.2, 0.5, 1.0]])
    written = task.finish_points(points, points_between(np.eye(4), np.eye(4)), (100, 200, 1), PHOTO)
    assert written["p_short_length"] == pytest.approx(30)
    assert written["p_long_length"] == pytest.approx(50)


def _with_lengths(section, text):
    return section.with_settings("type", LandmarkSettings(2, lengths=text))


@pytest.mark.parametrize("text", ["long", "long: a", "long: a, a", "long: a, b; long: b, a", ": a, b"])
def test_a_length_is_a_name_and_two_landmarks(text):
    with pytest.raises(ConfigError, match="lengths"):
        LandmarkSettings(2, lengths=text)


def test_the_peak_of_a_gaussian_is_found_between_voxels_and_at_the_edge_on_one():
    x, y, z = np.ogrid[:12, :9, :7]
    for middle in ((4.3, 5.1, 2.7), (6.5, 3.49, 3.2)):
        maps = sum(((a - m) / 1.7) ** 2 for a, m in zip((x, y, z), middle, strict=True))
        np.testing.assert_allclose(locate(np.exp(-0.5 * maps)[..., None])[0, :3], middle, atol=1e-6)
    corner = np.zeros((3, 3, 3, 1))
    corner[0, 2, 1] = -1.0
    assert locate(corner - 2)[0].tolist()[:3] == [0, 0, 0]
    first = np.array([9.0, 5.0, 1.0, 3.0]).reshape(4, 1, 1, 1)  # also where the other end is bright
    assert locate(first)[0].tolist() == [0, 0, 0, 9]
    assert locate(first[::-1])[0].tolist() == [3, 0, 0, 9]


SPINE = """
[MR]
csv_file = {folder}/images.csv
spatial_window_size = 48, 48, 48
axcodes = R, A, S
pixdim = 2, 2, 2
interp_order = 1
[VERTEBRAE]
csv_file = {folder}/labels.csv
axcodes = R, A, S
pixdim = 2, 2, 2
[POINTS]
csv_file = {folder}/points.csv
loader = table
[SYSTEM]
model_dir = {folder}/model
[NETWORK]
name = unet
window_sampling = resize
[TRAINING]
max_iter = 1
rotation_angle = -10, 10
scaling_percentage = -5, 5
random_flipping_axes = 0, 2
[MULTITASK]
image = MR
[TASK vertebrae]
type = segmentation
target = VERTEBRAE
num_classes = {classes}
[TASK centroids]
type = landmarks
target = POINTS
attribute = {names}
units = mm
"""


@pytest.fixture(scope="module")
def spine(real_data, tmp_path_factory):
    """A session on a real spine whose landmarks are the centroids of its vertebrae, in mm of its own space."""
    folder = tmp_path_factory.mktemp("spine")
    source = real_data / "spine"
    masks = nib.load(source / "sub-mri_seg-vert_label-6_msk.nii.gz")
    labels = np.asarray(masks.dataobj)
    inner = [
        value for value in np.unique(labels)[1:]
        if not any(np.isin(value, np.take(labels, [0, -1], axis=axis)) for axis in range(3))
    ]  # fmt: skip
    numbered = np.zeros(labels.shape, np.uint8)
    points = {}
    for number, value in enumerate(inner, 1):
        numbered[labels == value] = number
        middle = center_of_mass(labels == value)
        points[f"v{value}"] = nib.affines.apply_affine(masks.affine, middle)
    nib.save(nib.Nifti1Image(numbered, masks.affine), folder / "labels.nii.gz")
    (folder / "images.csv").write_text(f"s,{source}/sub-mri_label-6_T2w.nii.gz\n")
    (folder / "labels.csv").write_text(f"s,{folder}/labels.nii.gz\n")
    header = ",".join(f"{name}_{axis}" for name in points for axis in "xyz")
    (folder / "points.csv").write_text(
        f"subject_id,{header}\ns,{','.join(repr(float(v)) for point in points.values() for v in point)}\n"
    )
    path = folder / "run.ini"
    path.write_text(SPINE.format(folder=folder, classes=len(inner) + 1, names=", ".join(points)))
    session = open_session(read_config(path), SilentReporter(), training=False)
    return session, session.cohort.subjects["s"], points


@pytest.mark.real_data
def test_centroids_of_vertebrae_move_with_the_labels_whatever_happens_to_the_window(spine):
    session, subject, points = spine
    assert len(points) >= 3
    prepared = session.preparation.subject(subject)
    source = build_window_source(session.config, session.tasks, [prepared], augment=True)
    apart = []
    for index in range(6):
        _, targets, weights = source.window(index)
        assert weights["centroids"].all()
        for number, place in enumerate(targets["centroids"], 1):
            mask = targets["vertebrae"] == number
            border = [np.take(mask, [0, -1], axis=axis).any() for axis in range(3)]
            if mask.sum() > 30 and not any(border):
                apart.append(np.abs(np.array(center_of_mass(mask)) - (place * mask.shape - 0.5)).max())
    assert len(apart) > 10
    assert np.max(apart) < 1  # a voxel of 2 mm, of labels that are resampled twice


@pytest.mark.real_data
def test_centroids_of_vertebrae_are_written_back_where_they_were_in_mm(spine):
    session, subject, points = spine
    task, grid = session.tasks["centroids"], session.preparation.grid(subject)
    expected = np.ravel(list(points.values()))
    np.testing.assert_allclose(read_as_written(session.config, session.cohort, task, subject), expected, atol=1e-6)
    # Heat maps drawn around the prepared points, as a perfect network would, on the grid that it sees.
    placed = np.reshape(session.preparation.subject(subject).targets["centroids"], (-1, 4))[:, :3]
    axes = np.ogrid[tuple(slice(0, length) for length in grid.shape)]
    maps = np.stack(
        [np.exp(-sum((axis - p) ** 2 for axis, p in zip(axes, place, strict=True)) / 8) for place in placed], axis=-1
    )
    row = finish_row(session, task, subject, task.locate(maps), {})
    np.testing.assert_allclose([row[column] for column in task.columns], expected, atol=0.01)


@pytest.mark.parametrize(
    ("loss", "offset"),
    [("heat_map", 0), ("heat_map_coordinates", 0), ("heat_map_crossentropy", 0), ("landmarks", 0.5)],
)
def test_networks_begin_near_heat_maps_of_nothing_and_coordinates_in_the_middle(loss, offset):
    task = task_of(loss=loss)
    head = build_heads({"points": task}, "map").get("points", Head("map"))
    assert (head.kind, head.start, head.offset) == ("vector" if loss == "landmarks" else "map", 0.01, offset)
