"""Data sets with different labels in one training: who lacks a target teaches the other tasks, and that one nothing."""

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.label_counts import count_labels
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.applications.training.build import build_losses
from sfgkeras.applications.training.network import build_network
from sfgkeras.applications.training.step import labelled, losses_of_windows
from sfgkeras.config import read_config
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {data}/first, {data}/second
filename_contains = _mr
spatial_window_size = 8, 8, 1

[ORGANS]
path_to_search = {data}/first
filename_contains = _organs

[CLINICAL]
loader = table
csv_file = {data}/clinical.csv

[SYSTEM]
model_dir = {model}

[NETWORK]
name = unet
unet_levels = 1
unet_convolutions = 1
width = 0.125
batch_size = 3
batch_norm = population

[TRAINING]
max_iter = 2
save_every_n = 2
validation_every_n = 2
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = MR
missing_targets = allow

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3

[TASK stage]
type = classification
target = CLINICAL
num_classes = 2

[TASK age]
type = regression
target = CLINICAL
"""
FIRST, SECOND = [f"a{number}" for number in range(4)], [f"b{number}" for number in range(4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets of four slices: label maps and ages in the first, stages in the second."""
    folder = tmp_path_factory.mktemp("disjoint")
    rng = np.random.default_rng(1)
    lines = ["subject_id,stage,age"]
    for place, names in (("first", FIRST), ("second", SECOND)):
        (folder / place).mkdir()
        for number, name in enumerate(names):
            organs = np.zeros((8, 8, 1), np.uint8)
            organs[2:6, 1 : 4 + number] = 1 + number % 2
            image = (40.0 * organs + rng.normal(0, 5, organs.shape)).astype(np.float32)
            nib.save(nib.Nifti1Image(image, np.eye(4)), folder / place / f"{name}_mr.nii.gz")
            if place == "first":
                nib.save(nib.Nifti1Image(organs, np.eye(4)), folder / place / f"{name}_organs.nii.gz")
            lines.append(f"{name},,{30 + number}" if place == "first" else f"{name},{number % 2},")
    (folder / "clinical.csv").write_text("\n".join(lines) + "\n")
    return folder


def configure(data, folder, **overrides):
    path = folder / "disjoint.ini"
    path.write_text(INI.format(data=data, model=folder / "model"))
    return read_config(path, [(name.replace("__", "."), str(value)) for name, value in overrides.items()])


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """A run that is trained, inferred, evaluated and reported, and what it said."""
    from tests.applications.conftest import RecordingReporter

    config, reporter = configure(data, tmp_path_factory.mktemp("run")), RecordingReporter()
    run.train(config, reporter)
    run.infer(config, dataset="all")
    summary = run.evaluate(config, reporter, dataset="all")
    return config, reporter, summary, write_report(config)


def test_each_data_set_is_divided_among_the_phases_by_itself(data, tmp_path):
    config = configure(data, tmp_path)
    counts = count_labels(find_cohort(config), build_tasks(config))
    of_each = {"training": 2, "validation": 1, "inference": 1}
    assert counts == {"organs": of_each, "stage": of_each, "age": of_each}


def test_unless_it_is_allowed_only_subjects_with_all_targets_teach(data, tmp_path):
    config = configure(data, tmp_path, MULTITASK__missing_targets="refuse", MULTITASK__tasks="organs")
    assert {subject.subject_id for subject in find_cohort(config).phase("training", "validation")} <= set(FIRST)
    config = configure(data, tmp_path, MULTITASK__missing_targets="refuse", MULTITASK__tasks="stage")
    with pytest.raises(DataError, match="stage = '' is not a number"):
        open_session(config, SilentReporter(), training=True)


def test_a_batch_without_a_label_gives_its_head_no_gradient_at_all(data, tmp_path):
    config = configure(data, tmp_path)
    session = open_session(config, SilentReporter(), training=True)
    subjects = prepare_phase(session, "training", SilentReporter())
    source = build_window_source(config, session.tasks, subjects, augment=False)
    network = build_network(config, session.tasks, 1)
    losses = build_losses(session.tasks, network)
    windows = {"organs": [], "stage": []}
    for index in range(8):
        windows["organs" if source.subject_of(index).subject_id in FIRST else "stage"].append(index)
    for own, others in (("organs", ["stage"]), ("stage", ["organs", "age"])):
        images, targets, weights = source.batch(windows[own])
        assert float(labelled(losses, weights)[own]) == len(windows[own])
        with tf.GradientTape() as tape:
            values = losses_of_windows(losses, network(images, training=True), targets, weights)
            total = network.balancer.total({task: tf.reduce_mean(value) for task, value in values.items()})
        heads = dict(zip(session.tasks, network.heads, strict=True))
        variables = {task: head.trainable_variables for task, head in heads.items()}
        flat = tape.gradient(total, [variable for found in variables.values() for variable in found])
        gradients, start = {}, 0
        for task, found in variables.items():
            gradients[task] = [gradient.numpy() for gradient in flat[start : start + len(found)]]
            start += len(found)
        assert any(np.abs(gradient).max() > 0 for gradient in gradients[own])
        for task in others:
            assert float(tf.reduce_sum(values[task])) == 0.0
            for gradient in gradients[task]:
                np.testing.assert_array_equal(gradient, 0.0)


def test_a_window_without_a_label_counts_in_the_mean_over_the_batch(data, tmp_path):
    # 1/N sum_i delta_i L_i over all N windows of a batch (Kokkinos 2017, equation 3), against the sum by hand.
    config = configure(data, tmp_path)
    session = open_session(config, SilentReporter(), training=True)
    subjects = prepare_phase(session, "training", SilentReporter())
    source = build_window_source(config, session.tasks, subjects, augment=False)
    images, targets, weights = source.batch(range(4))
    network = build_network(config, session.tasks, 1)
    losses = build_losses(session.tasks, network)
    output = np.asarray(network(images, training=False)["stage"], np.float64)
    delta = [source.subject_of(index).subject_id in SECOND for index in range(4)]
    assert 0 < sum(delta) < 4
    per_window = -np.log(np.exp(output) / np.exp(output).sum(-1, keepdims=True))[np.arange(4), targets["stage"]]
    found = np.asarray(losses_of_windows(losses, {**network(images, training=False)}, targets, weights)["stage"])
    np.testing.assert_allclose(found.mean(), (per_window * delta).sum() / 4, rtol=1e-5)


@pytest.mark.slow
def test_a_run_says_how_many_subjects_have_each_target(done, data, tmp_path):
    config, reporter, summary, page = done
    said = "organs 2 of 4 training, 1 of 2 validation; stage 2 of 4 training, 1 of 2 validation; age 2 of 4"
    assert any(said in message for message in reporter.messages)
    assert "organs: 4 of 8 subjects have a target" in reporter.messages
    assert "stage: 4 of 8 subjects have a target" in reporter.messages
    assert not any("no target" in warning for warning in reporter.warnings)
    assert {row["n"] for row in summary["organs"] if row["measure"] == "dice" and row["label"] == "1"} <= {2, 4}
    assert "organs 2 of 4 training, 1 of 2 validation, 1 of 2 inference" in page.read_text()
    fresh = configure(data, tmp_path)
    assert check_run(fresh, reporter)
    columns, rows = reporter.tables["subjects with a target"]
    assert columns == ["task", "training", "validation", "inference"]
    assert rows[1] == ["stage", "2 of 4", "1 of 2", "1 of 2"]


def test_a_phase_without_any_target_of_a_task_is_refused_by_name(data, tmp_path):
    config = configure(data, tmp_path)
    config.system.dataset_split_file.parent.mkdir()
    config.system.dataset_split_file.write_text("a0,training\nb0,training\na1,validation\n")
    with pytest.raises(
        DataError, match="none of the 1 subjects of the phase 'validation' has a target of task 'stage'"
    ):
        open_session(config, SilentReporter(), training=True)


@pytest.mark.slow
def test_what_nobody_is_there_to_measure_is_not_evaluated(done):
    config, reporter, *_ = done
    (only,) = find_cohort(config).phase("inference")[:1]
    config.system.dataset_split_file.write_text(f"{only.subject_id},inference\n")
    summary = run.evaluate(config, reporter, dataset="inference")
    assert summary["stage"] == []
    assert "stage: none of 1 subject has a target; it is not evaluated" in reporter.warnings
