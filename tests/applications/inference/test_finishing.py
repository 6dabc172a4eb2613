"""Results finished slab by slab are those of the whole volume, on whatever grid the subject has."""

import numpy as np
import pytest

from sfgkeras.applications.inference.result_maps import MapFinisher, view_of
from sfgkeras.applications.tasks.regression import MapRegression
from sfgkeras.applications.tasks.segmentation import SegmentationTask
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.grids import Grid
from sfgkeras.data.orientation import reorient
from sfgkeras.data.scratch import Scratch
from sfgkeras.preprocessing.resampling import resample_like

SHAPE = (9, 8, 7)
GRID = Grid(SHAPE, np.array([[2.0, 0, 0, -9], [0, 1.5, 0, 4], [0, 0, 3, 1], [0, 0, 0, 1]]))


def turned(axcodes):
    stand_in, affine = reorient(np.zeros(SHAPE), GRID.affine, axcodes)
    return Grid(stand_in.shape, affine)


def moved(grid, start, shape, scale=1.0):
    step = np.diag([scale, scale, scale, 1.0])
    step[:3, 3] = start
    return Grid(shape, grid.affine @ step)


GRIDS = {
    "same": GRID,
    "turned": turned("PIL"),
    "flipped": turned("LPS"),
    "cut": moved(GRID, (2, 1, 3), (5, 6, 4)),
    "turned and cut": moved(turned("SLP"), (1, 2, 1), (5, 6, 5)),
    "shifted": moved(GRID, (0.5, 0, 0), (8, 8, 7)),
    "larger": moved(GRID, (-1, 0, 0), (11, 8, 7)),
    "finer": moved(GRID, (0, 0, 0), (17, 15, 13), 0.5),
}
NEEDS_NO_INTERPOLATION = {"same", "turned", "flipped", "cut", "turned and cut"}


def segmentation(**settings):
    task = Task(type="segmentation", target="ORGANS", num_classes=4, **settings)
    return SegmentationTask("organs", "ORGANS", task, InputSource())


TASKS = {
    "ct": MapRegression("ct", "CT", Task(type="regression", target="CT", scale=2.0), InputSource(scaling="ct")),
    "organs": segmentation(),
    "probabilities": segmentation(output_prob=True),
}


def outputs_of(task, seed=0):
    random_generator = np.random.default_rng(seed)
    values = random_generator.gamma(0.3, size=(*SHAPE, task.num_outputs)).astype(np.float32)
    return values if task.num_outputs == 1 else values / values.sum(axis=-1, keepdims=True)


def whole(task, outputs, spread, native, order):
    """Finishes everything at once, in memory."""

    def resample(volume, order, fill):
        if GRID.is_same(native):
            return volume
        return resample_like(volume, GRID.affine, native.shape, native.affine, order, fill=fill)

    return task.finish_map(outputs, resample, order, -1024.0) | task.finish_spread(spread, resample, order)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("name", GRIDS)
def test_slabs_give_what_the_whole_volume_gives(name, order, axis, tmp_path):
    native = GRIDS[name]
    for task in TASKS.values():
        outputs = outputs_of(task)
        spread = dict.fromkeys(task.build_statistics().endings, outputs[..., 0] * 0.1)
        finisher = MapFinisher(task, GRID, native, order, -1024.0, Scratch(tmp_path, in_memory=0))
        for first in range(0, SHAPE[axis], 3):
            region = [slice(None)] * 3
            region[axis] = slice(first, min(first + 3, SHAPE[axis]))
            place = tuple(region)
            finisher.add(place, outputs[place], {ending: values[place] for ending, values in spread.items()})
        results, expected = finisher.results(), whole(task, outputs, spread, native, order)
        assert results.keys() == expected.keys()
        for ending, values in expected.items():
            assert results[ending].shape == values.shape
            assert results[ending].dtype == values.dtype
            if name.endswith("cut") and order == 3 and task.type_name == "regression":
                # A spline through the voxels, at the voxels.
                np.testing.assert_allclose(results[ending], values, atol=1e-2)
            else:
                np.testing.assert_array_equal(results[ending], values)


@pytest.mark.parametrize("name", GRIDS)
def test_only_voxels_of_the_grid_itself_need_no_interpolation(name):
    assert (view_of(GRID, GRIDS[name]) is not None) == (name in NEEDS_NO_INTERPOLATION)
