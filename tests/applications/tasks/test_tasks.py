"""What each type of task makes of targets and outputs: the way in, the way back, and the files between."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import zoom

from sfgkeras.applications.tasks.bounding_box import BoundingBoxTask
from sfgkeras.applications.tasks.classification import ClassificationTask
from sfgkeras.applications.tasks.depth import DepthTask
from sfgkeras.applications.tasks.landmarks import LandmarkTask
from sfgkeras.applications.tasks.motion import MotionTask
from sfgkeras.applications.tasks.normals import NormalsTask
from sfgkeras.applications.tasks.reconstruction import ReconstructionTask
from sfgkeras.applications.tasks.regression import MapRegression, ValueRegression
from sfgkeras.applications.tasks.segmentation import SegmentationTask
from sfgkeras.applications.tasks.table import TASK_TYPES, build_tasks, class_for
from sfgkeras.applications.tasks.task import select_measures
from sfgkeras.applications.training.fingerprint import network_fingerprint, refuse_other_network
from sfgkeras.config import find_config, read_config
from sfgkeras.config.sections import Evaluation
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.errors import ConfigError, DataError


def regression(scaling="none", **settings):
    kind = ValueRegression if "attribute" in settings else MapRegression
    return kind("ct", "CT", Task(type="regression", target="CT", **settings), InputSource(scaling=scaling))


def segmentation(num_classes=3, **settings):
    task = Task(type="segmentation", target="ORGANS", num_classes=num_classes, **settings)
    return SegmentationTask("organs", "ORGANS", task, InputSource())


def classification(num_classes=3):
    task = Task(type="classification", target="AGES", attribute="stage", num_classes=num_classes)
    return ClassificationTask("stage", "AGES", task, InputSource())


def same_grid(volume, order, fill):
    return volume


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.int16, (3, 4, 2), elements=st.integers(-1024, 2500)))
def test_whole_hounsfield_units_come_back_exactly(hu):
    task = regression(scaling="ct")
    learned = task.prepare_map(hu)
    assert learned.dtype == np.float32
    np.testing.assert_allclose(learned, hu / 1024 + 1, rtol=1e-6)
    finished = task.finish_map(learned[..., None], same_grid, 1, 0.0)
    assert finished.keys() == {""}
    np.testing.assert_array_equal(finished[""], hu)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 3, 2), elements=st.floats(-1e4, 1e4, width=32)), st.sampled_from([0.01, 1.0, 3.0, 1e-4])
)
def test_a_scaled_map_comes_back(values, scale):
    task = regression(scale=scale)
    learned = task.prepare_map(values)
    np.testing.assert_allclose(learned, values * scale, rtol=1e-6, atol=1e-30)
    finished = task.finish_map(learned[..., None], same_grid, 1, 0.0)[""]
    np.testing.assert_allclose(finished, values, rtol=1e-6, atol=1e-30)
    assert finished.dtype == np.float32


def test_a_scaled_value_comes_back_in_its_own_unit():
    task = regression(attribute="age", scale=0.01)
    assert task.prepare_value("41") == pytest.approx([0.41])
    assert task.finish_value(task.prepare_value("41")) == {"ct": pytest.approx(41)}


@pytest.mark.parametrize("text", ["", "old", "nan", "inf", "4,5"])
def test_a_value_that_is_no_number_is_refused(text):
    with pytest.raises(DataError, match=r"\[CT\] age = .* is not a number"):
        regression(attribute="age").prepare_value(text)


def test_the_resampling_of_a_map_is_asked_for_in_its_own_unit():
    asked = []

    def resample(volume, order, fill):
        asked.append((volume.copy(), order, fill))
        return volume

    regression(scaling="ct").finish_map(np.full((2, 2, 2, 1), 1.5), resample, 3, -1024.0)
    ((volume, order, fill),) = asked
    assert (order, fill) == (3, -1024.0)
    np.testing.assert_array_equal(volume, 512)


@pytest.mark.parametrize(("num_classes", "dtype"), [(3, np.uint8), (256, np.uint8), (300, np.int32)])
def test_labels_become_the_smallest_integers_that_hold_them(num_classes, dtype):
    labels = np.array([[[0, num_classes - 1]]])
    prepared = segmentation(num_classes).prepare_map(labels)
    assert prepared.dtype == dtype
    np.testing.assert_array_equal(prepared, labels)


@pytest.mark.parametrize(("labels", "named"), [([0, 3], "label 3"), ([0, -1], "label -1"), ([7, 1], "label 7")])
def test_labels_outside_the_classes_are_refused(labels, named):
    with pytest.raises(DataError, match=rf"{named} lies outside num_classes = 3 of task 'organs'"):
        segmentation().prepare_map(np.array([[labels]]))


def test_probabilities_sum_to_one_and_follow_the_logits():
    logits = np.random.default_rng(0).normal(0, 30, (4, 5, 3)).astype(np.float32)
    for task in (segmentation(), classification()):
        probabilities = task.activate(logits)
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(probabilities.argmax(-1), logits.argmax(-1))


def test_a_label_map_on_the_same_grid_is_the_most_probable_class():
    probabilities = np.random.default_rng(1).dirichlet([1, 1, 1], (5, 4, 3))
    for order in (0, 1):
        finished = segmentation().finish_map(probabilities, same_grid, order, 9.0)
        assert finished.keys() == {""}
        assert finished[""].dtype == np.uint8
        np.testing.assert_array_equal(finished[""], probabilities.argmax(-1))


def upsample(volume, order, fill):
    factors = [2, 2, 2] + [1] * (volume.ndim - 3)
    return zoom(volume, factors, order=order, mode="grid-constant", grid_mode=True, cval=fill)


def test_linear_resampling_interpolates_probabilities_and_never_labels():
    # Between background (0) and label 2, a mean of labels would be label 1.
    probabilities = np.zeros((4, 4, 4, 3))
    probabilities[:2, ..., 0] = 1
    probabilities[2:, ..., 2] = 1
    labels = segmentation().finish_map(probabilities, upsample, 1, 0.0)[""]
    assert labels.shape == (8, 8, 8)
    assert set(np.unique(labels)) == {0, 2}
    assert (labels[:4] == 0).all()
    assert (labels[4:] == 2).all()


def test_outside_the_grid_a_label_map_is_background_whatever_fill_is_asked_for():
    def half(volume, order, fill):
        kept = np.full_like(volume, fill)
        kept[:2] = volume[:2]
        return kept

    probabilities = np.zeros((4, 2, 2, 3))
    probabilities[..., 2] = 1
    for order in (0, 1):
        labels = segmentation().finish_map(probabilities, half, order, -1024.0)[""]
        assert (labels[:2] == 2).all()
        assert (labels[2:] == 0).all()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_probabilities_are_written_besides_the_labels_where_asked_for(order):
    probabilities = np.random.default_rng(2).dirichlet([1, 1, 1], (5, 4, 3)).astype(np.float32)
    task = segmentation(output_prob=True)
    finished = task.finish_map(probabilities, same_grid, order, 0.0)
    assert set(finished) == {"", "_probabilities"} == set(task.map_endings)
    np.testing.assert_array_equal(finished["_probabilities"], probabilities)
    assert finished["_probabilities"].dtype == np.float32
    np.testing.assert_array_equal(finished[""], probabilities.argmax(-1))


@pytest.mark.parametrize("text", ["3", "-1", "0.5", "male"])
def test_a_class_outside_the_classes_is_refused(text):
    with pytest.raises(DataError, match="stage = .*(0 .. 2|not a number)"):
        classification().prepare_value(text)


def test_a_class_is_written_with_its_probabilities():
    assert classification().prepare_value("2") == 2
    row = classification().finish_value(np.array([0.2, 0.7, 0.1]))
    assert row == {
        "stage": 1, "stage_probability_0": 0.2, "stage_probability_1": 0.7, "stage_probability_2": 0.1
    }  # fmt: skip


def test_a_type_has_a_class_for_every_kind_of_target_that_it_can_learn_and_no_other():
    found = {name: [class_for(name, gives_values) for gives_values in (False, True)] for name in TASK_TYPES}
    assert found == {
        "regression": [MapRegression, ValueRegression],
        "segmentation": [SegmentationTask, None],
        "classification": [None, ClassificationTask],
        "bounding_box": [None, BoundingBoxTask],
        "landmarks": [None, LandmarkTask],
        "reconstruction": [ReconstructionTask, None],
        "depth": [DepthTask, None],
        "normals": [NormalsTask, None],
        "motion": [MotionTask, None],
    }


@pytest.mark.parametrize(
    ("settings", "gives"), [({"type": "segmentation", "attribute": "age"}, "one value per subject"),
                            ({"type": "classification"}, "volumes")],
)  # fmt: skip
def test_a_target_of_the_other_kind_is_refused(settings, gives):
    config = SimpleNamespace(sources={"CT": InputSource()}, tasks={"ct": Task(target="CT", num_classes=3, **settings)})
    with pytest.raises(
        ConfigError, match=rf"\[TASK ct\] target = 'CT' gives {gives}, and no {settings['type']} learns"
    ):
        build_tasks(config)


def test_what_is_written_follows_from_the_target():
    tasks = [regression(), regression(attribute="age"), segmentation(), classification()]
    assert [task.writes for task in tasks] == ["volume", "row", "volume", "row"]
    assert [task.head for task in tasks] == ["map", "vector", "map", "vector"]


def test_a_ct_is_measured_where_it_is_covered_and_within_the_range_that_is_learned():
    truth = np.array([-2000.0, -1000.0, 100.0, 3000.0, 500.0]).reshape(5, 1, 1)
    prediction = np.array([-1024.0, -990.0, 130.0, 2500.0, -99999.0]).reshape(5, 1, 1)
    valid = np.array([1, 1, 1, 1, 0], bool).reshape(5, 1, 1)
    evaluation = Evaluation(evaluations=("mae",), intensity_bounds={"bone": (200.0, 4000.0)})
    rows = regression(scaling="ct").evaluate_map(truth, prediction, valid, (1, 1, 1), evaluation)
    assert [(row["region"], row["mae"]) for row in rows] == [("all", 10.0), ("bone", 0.0)]


def test_voxels_that_the_truth_does_not_cover_count_as_background():
    truth = np.array([1, 1, 0, 0]).reshape(4, 1, 1)
    prediction = np.array([1, 0, 0, 1]).reshape(4, 1, 1)
    valid = np.array([1, 1, 1, 0], bool).reshape(4, 1, 1)
    evaluation = Evaluation(evaluations=("dice",))
    rows = segmentation(2).evaluate_map(truth, prediction, valid, (1, 1, 1), evaluation)
    assert [row["label"] for row in rows] == ["1"]
    assert rows[0]["dice"] == pytest.approx(2 / 3)


def test_labels_are_measured_by_their_names_or_as_one():
    truth = np.array([0, 1, 2, 2]).reshape(4, 1, 1)
    prediction = np.array([0, 2, 2, 2]).reshape(4, 1, 1)
    valid = np.ones((4, 1, 1), bool)
    task = segmentation(class_names=("background", "bladder", "rectum"))
    rows = task.evaluate_map(truth, prediction, valid, (1, 1, 1), Evaluation(evaluations=("dice",)))
    assert {row["label"]: row["dice"] for row in rows} == {"bladder": 0.0, "rectum": pytest.approx(0.8)}
    whole = Evaluation(evaluations=("dice",), evaluation_units="foreground")
    (row,) = task.evaluate_map(truth, prediction, valid, (1, 1, 1), whole)
    assert (row["label"], row["dice"]) == ("foreground", 1.0)


@pytest.mark.parametrize(("tolerance", "expected"), [(1.0, 0.0), (9.0, 1.0)])
def test_surfaces_agree_within_the_tolerance_of_the_evaluation(tolerance, expected):
    truth = np.zeros((8, 3, 3), np.uint8)
    prediction = truth.copy()
    truth[1, 1, 1] = prediction[6, 1, 1] = 1
    evaluation = Evaluation(evaluations=("surface_dice",), surface_tolerance=tolerance)
    (row,) = segmentation(2).evaluate_map(truth, prediction, np.ones(truth.shape, bool), (1, 1, 1), evaluation)
    assert row["surface_dice"] == expected


def test_a_refinement_has_its_settings(make_config):
    """Of two neighbours whose probabilities contradict each other the surer one wins, if neighbours count at all."""
    outputs = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32).reshape(2, 1, 1, 2)

    def labels(weight):
        settings = {"refinement": "crf", "crf_appearance_weight": 0, "crf_smoothness_weight": weight}
        config = make_config({f"TASK organs.{key}": value for key, value in settings.items()})
        refined = build_tasks(config)["organs"].refined(outputs, np.zeros((2, 1, 1, 1), np.float32))
        return refined.argmax(axis=-1).ravel().tolist()

    assert labels(weight=5) == [0, 0]
    assert labels(weight=0) == [0, 1]


def test_measures_are_those_named_for_the_type_or_all():
    assert select_measures(["mae", "dice", "psnr"], "regression") == ["mae", "psnr"]
    assert select_measures(["mae"], "segmentation") == []
    assert select_measures([], "segmentation") is None


@pytest.mark.parametrize(
    "override",
    [("CT.scaling", "none"), ("TASK ct.scale", "0.5"), ("NETWORK.width", "0.5"), ("TASK organs.num_classes", "7")],
)
def test_what_was_learned_in_one_way_is_not_resumed_or_written_in_another(override, tmp_path):
    saved = network_fingerprint(read_config(find_config("prostate")))
    refuse_other_network(read_config(find_config("prostate")), saved, tmp_path)
    other = read_config(find_config("prostate"), [override, ("TASK organs.class_names", "")])
    with pytest.raises(ConfigError, match=f"{tmp_path} was trained with .*--restart"):
        refuse_other_network(other, saved, tmp_path)


def test_every_task_of_the_shipped_files_builds():
    for name, kinds in {
        "prostate": {"ct": "map", "organs": "labels"}, "utkface": {"age": "value", "gender": "class"},
        "segmentation": {"segmentation": "labels"},
    }.items():  # fmt: skip
        tasks = build_tasks(read_config(find_config(name)))
        assert {name: task.target_kind for name, task in tasks.items()} == kinds


def test_errors_of_a_ct_are_measured_in_hu_during_training(make_config):
    config = make_config({"TASK ct.scale": 0.5})
    task = build_tasks(config)["ct"]
    mae = task.build_metrics()["mae"]
    truth = task.prepare_map(np.full((2, 2, 1), 100.0))
    mae.update_state(truth[None, ..., None], task.prepare_map(np.full((2, 2, 1), 140.0))[None, ..., None])
    assert float(mae.result()) == pytest.approx(40, rel=1e-3)
    assert task.metric_units() == {"mae": "HU", "rmse": "HU"}
    assert build_tasks(config)["organs"].metric_units() == {}


def test_several_numbers_of_a_subject_are_learned_written_and_measured_each_by_itself():
    section = Task(type="regression", target="FACES", attribute="roll, pitch, yaw", loss="mse", scale=0.5, unit="deg")
    task = ValueRegression("pose", "FACES", section, InputSource(loader="table"))
    assert (task.num_outputs, task.attributes) == (3, ("roll", "pitch", "yaw"))
    learned = task.prepare_value("10", "-20", "30")
    assert learned.dtype == np.float32
    np.testing.assert_array_equal(learned, [5, -10, 15])
    assert task.finish_value(learned) == {"pose_roll": 10, "pose_pitch": -20, "pose_yaw": 30}
    spread = task.finish_value_spread({"_std": np.array([1.0, 2.0, 3.0])})
    assert spread == {"pose_roll_std": 2, "pose_pitch_std": 4, "pose_yaw_std": 6}
    statistics = task.build_statistics()
    for values in ([0.0, 1, 2], [2.0, 1, 6]):
        statistics.add(np.array([values]))
    np.testing.assert_allclose(statistics.spread()["_std"], [[2**0.5, 0, 8**0.5]], rtol=1e-6)
    truth, found = np.array([[0.0, 0, 0], [10, 10, 10]]), np.array([[1.0, 0, 0], [11, 10, 14]])
    evaluation = SimpleNamespace(evaluations=("mae",), intensity_bounds={})
    rows = task.evaluate_values(truth, found, evaluation)
    assert [(row["label"], row["mae"]) for row in rows] == [("roll", 1.0), ("pitch", 0.0), ("yaw", 2.0)]
    assert task.score_subjects(truth, found) == {}
    assert task.describe_output()["values"] == ["roll", "pitch", "yaw"]
