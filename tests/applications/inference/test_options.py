"""From the INI file to what predicts: every option reaches what it is for."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras.applications.inference import results
from sfgkeras.applications.inference.passes import ONE_PASS
from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.results import build_predictor
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.data.grids import Grid
from sfgkeras.reporter import SilentReporter


def arguments_of_predictor(config, monkeypatch):
    """What the predictor of a configuration is built with, by name."""
    found = {}

    def note(*arguments, **more):
        found.update(inspect.signature(Predictor).bind(*arguments, **more).arguments)

    monkeypatch.setattr(results, "Predictor", note)
    monkeypatch.setattr(results, "VoxelLimit", lambda *arguments: None)
    session = SimpleNamespace(config=config, tasks=build_tasks(config))
    build_predictor(session, network=None, image_channels=1, reporter=SilentReporter())
    return found


@pytest.mark.parametrize(
    ("option", "value", "name", "expected"),
    [
        ("INFERENCE.spatial_window_size", "20, 16, 1", "window_size", (20, 16, 1)),
        ("INFERENCE.border", "3, 2, 0", "border", (3, 2, 0)),
        ("INFERENCE.blending", "none", "blending", "none"),
        ("NETWORK.batch_size", "3", "batch_size", 3),
        ("NETWORK.smaller_final_batch_mode", "dynamic", "fill_last_batch", False),
        ("NETWORK.batch_norm", "batch", "keep_batches", True),
        ("MULTITASK.loss_border", "5", "loss_border", 5),
    ],
)
def test_windows_are_predicted_as_the_file_says(make_config, monkeypatch, option, value, name, expected):
    assert arguments_of_predictor(make_config(), monkeypatch)[name] != expected
    assert arguments_of_predictor(make_config({option: value}), monkeypatch)[name] == expected


def predicted(config):
    """The CT of a subject of thick slices, the half of which were predicted, on voxels of half the thickness."""
    shape, affine = (6, 6, 4), np.diag([8.0, 8.0, 8.0, 1.0])
    finer = np.diag([8.0, 8.0, 4.0, 1.0])
    tasks = build_tasks(config)
    outputs = np.broadcast_to(np.array([0.0, 1.0, 0.0, 2.0], np.float32)[:, None], (*shape, 1))

    def slabs(image):
        yield "ct", (slice(0, 6), slice(0, 6), slice(0, 4)), outputs
        yield "organs", (slice(0, 6), slice(0, 6), slice(0, 4)), np.ones((*shape, 6), np.float32) / 6

    found = results._Input(
        np.zeros((*shape, 1), np.float32), Grid(shape, affine), Grid((6, 6, 12), finer), None, (0, 1, 2)
    )
    session = SimpleNamespace(config=config, tasks=tasks)
    return results._predict(session, SimpleNamespace(slabs=slabs), found, ONE_PASS)["ct", ""][3, 3]


def test_results_are_interpolated_and_filled_as_the_file_says(make_config):
    linear, nearest = (predicted(make_config({"INFERENCE.output_interp_order": order})) for order in (1, 0))
    hu = [-1024.0, 0.0, -1024.0, 1024.0]
    np.testing.assert_allclose(linear[:7], [hu[0], -512, hu[1], -512, hu[2], 0, hu[3]], atol=1)
    assert set(nearest[:7].tolist()) == set(hu)
    filled = predicted(make_config({"INFERENCE.fill_constant": -7}))
    assert (filled[-4:] == -7).all()
    assert (linear[-4:] == -1024).all()
