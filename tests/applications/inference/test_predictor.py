"""Windows over a volume: the same numbers as a plain average over the whole of it, and the cheaper of two ways."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from sfgkeras.applications.inference.activation_memory import VoxelLimit, bytes_per_voxel
from sfgkeras.applications.inference.passes import Passes
from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.result_maps import MapFinisher
from sfgkeras.applications.tasks.regression import MapRegression
from sfgkeras.applications.tasks.segmentation import SegmentationTask
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.aggregators import grid_starts
from sfgkeras.data.grids import Grid
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.data.scratch import Scratch
from sfgkeras.errors import DataError

TASKS = {
    "ct": MapRegression("ct", "CT", Task(type="regression", target="CT"), InputSource()),
    "organs": SegmentationTask(
        "organs", "ORGANS", Task(type="segmentation", target="ORGANS", num_classes=3), InputSource()
    ),
}


class Shifts:
    """A network whose outputs depend on neighbours, so that windows differ where they overlap.

    Attributes:
        batches: Shapes of what it was called with.
        gain: A factor on everything, as a drawn mask would be.
    """

    def __init__(self):
        self.batches = []
        self.gain = 1.0

    def __call__(self, x, training):
        import tensorflow as tf

        assert not training
        self.batches.append(tuple(x.shape))
        before = tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        after = tf.concat([x[:, :, 1:], tf.zeros_like(x[:, :, :1])], axis=2)
        return {"ct": x + before, "organs": tf.concat([x, before - after, 2 * after], axis=-1)}


class EagerPredictor(Predictor):
    """Calls the network as it is, so that it sees every batch."""

    def __init__(self, network, *arguments, **more):
        super().__init__(network, TASKS, *arguments, **more)
        self._call = lambda x: {name: network.gain * value for name, value in network(x, training=False).items()}


def volume_of(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)


def plain_average(image, window, border, blending, frame, order):
    """Sums all windows over the whole volume in memory, one by one."""
    shape, sliced = image.shape[:3], [axis for axis, n in enumerate(window) if n == 1]
    total = {name: np.zeros((*shape, task.num_outputs), np.float32) for name, task in TASKS.items()}
    weights = np.zeros(shape, np.float32)
    network = Shifts()
    for start in sorted(grid_starts(shape, window, border), key=order):
        place = tuple(slice(s, s + n) for s, n in zip(start, window, strict=True))
        piece = np.squeeze(image[place], axis=tuple(sliced))
        framed = np.pad(piece, [*[(frame, frame)] * (piece.ndim - 1), (0, 0)])
        outputs = network(framed[None], training=False)
        weight = np.ones(window, np.float32)
        kept = (slice(None),) * 3
        if blending == "gaussian":
            x, y, z = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).astype("f4") for n in window)
            weight = x[:, None, None] * y[:, None] * z
        else:
            sides = zip(start, window, border, shape, strict=True)
            kept = tuple(slice(b if s else 0, n - b if s + n < extent else n) for s, n, b, extent in sides)
        target = tuple(
            slice(s + k.indices(n)[0], s + k.indices(n)[1]) for s, n, k in zip(start, window, kept, strict=True)
        )
        for name in TASKS:
            value = outputs[name].numpy()[0]
            value = value[tuple(slice(frame, n - frame) for n in value.shape[:-1])]
            value = softmax(value, axis=-1) if name == "organs" else value
            total[name][target] += value.reshape(*window, -1)[kept] * weight[kept][..., None]
        weights[target] += weight[kept]
    return {name: value / weights[..., None] for name, value in total.items()}


@pytest.mark.parametrize("blending", ["gaussian", "none"])
@pytest.mark.parametrize(
    ("shape", "window", "border", "frame", "axis"),
    [
        ((20, 17, 6), (8, 6, 1), (2, 1, 0), 0, 2),
        ((20, 17, 6), (8, 6, 1), (2, 1, 0), 2, 2),
        ((5, 12, 14), (1, 7, 6), (0, 0, 2), 1, 0),
        ((9, 10, 24), (5, 8, 6), (1, 2, 2), 0, 2),
        ((9, 6, 5), (0, 4, 0), (3, 1, 1), 1, 1),
    ],
)
def test_volumes_are_the_plain_average_of_all_windows_to_the_last_bit(shape, window, border, frame, axis, blending):
    image = volume_of(*shape)
    predictor = EagerPredictor(Shifts(), window, border, blending, 3, loss_border=frame)
    full = tuple(n or extent for n, extent in zip(window, shape, strict=True))
    used = tuple(0 if n == extent else b for n, extent, b in zip(full, shape, border, strict=True))
    expected = plain_average(image, full, used, blending, frame, lambda start: start[axis])
    result = predictor.volumes(image)
    for name in TASKS:
        np.testing.assert_array_equal(result[name], expected[name])


@pytest.mark.parametrize("window", [(6, 5, 4), (6, 5, 1), (1, 6, 5)])
def test_where_windows_are_resized_images_maps_are_those_of_the_resized_image_resized_back(window):
    image, network = volume_of(9, 7, 5), Shifts()
    result = EagerPredictor(network, window, (0, 0, 0), "none", 2, resizes=True).volumes(image)
    sliced = window.index(1) if 1 in window else None
    planes = image[None] if sliced is None else np.moveaxis(image, sliced, 0)
    size = [n for n in window if n != 1]
    assert {shape[1:] for shape in network.batches} == {(*size, 1)}
    for name in TASKS:
        found = result[name][None] if sliced is None else np.moveaxis(result[name], sliced, 0)
        for plane, values in zip(planes, found, strict=True):
            outputs = network(resize_linear(plane, size)[None], training=False)[name].numpy()[0]
            outputs = softmax(outputs, axis=-1) if name == "organs" else outputs
            np.testing.assert_allclose(values, resize_linear(outputs, plane.shape[:-1]), rtol=1e-5, atol=1e-6)


def test_a_volume_smaller_than_the_only_window_that_a_network_takes_is_refused():
    predictor = EagerPredictor(Shifts(), (8, 8, 1), (0, 0, 0), "none", 2, has_one_size=True)
    predictor.volumes(volume_of(9, 8, 2))
    with pytest.raises(DataError, match=r"7 x 9 x 2 voxels .* the window 8 x 8 x 1, and head_pooling"):
        predictor.volumes(volume_of(7, 9, 2))


def test_slabs_cover_the_volume_from_one_end_to_the_other():
    reached = dict.fromkeys(TASKS, 0)
    for name, region, values in EagerPredictor(Shifts(), (8, 8, 1), (0, 0, 0), "gaussian", 5).slabs(volume_of(9, 9, 7)):
        assert region[2].start == reached[name]
        assert values.shape[:3] == (9, 9, 1)
        reached[name] = region[2].stop
    assert reached == {"ct": 7, "organs": 7}


def shapes_seen(shape, window, border=(0, 0, 0), batch_size=4, **more):
    network = Shifts()
    EagerPredictor(network, window, border, "gaussian", batch_size, **more).volumes(volume_of(*shape))
    return network.batches


def test_whole_slices_are_taken_where_windows_would_cost_more():
    assert shapes_seen((20, 20, 4), (12, 12, 1), prefer_whole_slices=True) == [(4, 20, 20, 1)]
    assert shapes_seen((20, 20, 4), (12, 12, 1)) == [(4, 12, 12, 1)] * 4
    # Smaller than the window, along one axis or both: nothing to gain.
    assert shapes_seen((10, 20, 4), (12, 12, 1), prefer_whole_slices=True) == [(4, 10, 20, 1)]


def test_3d_windows_and_batches_that_matter_are_left_alone():
    assert {seen[1:] for seen in shapes_seen((8, 8, 8), (6, 6, 6), prefer_whole_slices=True)} == {(6, 6, 6, 1)}
    seen = shapes_seen((20, 20, 4), (12, 12, 1), prefer_whole_slices=True, keep_batches=True)
    assert seen == [(4, 12, 12, 1)] * 4


def limit_of(voxels):
    limit = VoxelLimit(None, 2, 1, trained_voxels=1)
    limit.__dict__["_voxels"] = voxels
    return limit


def test_batches_shrink_to_what_fits_and_slices_to_windows():
    whole = {"prefer_whole_slices": True}
    assert shapes_seen((20, 20, 4), (12, 12, 1), limit=limit_of(800), **whole) == [(2, 20, 20, 1)] * 2
    # A slice of 400 voxels does not fit; two windows of 144 do.
    assert shapes_seen((20, 20, 4), (12, 12, 1), limit=limit_of(399), **whole) == [(2, 12, 12, 1)] * 8
    # One window always goes: nothing smaller can be done.
    assert shapes_seen((20, 20, 2), (12, 12, 1), limit=limit_of(10), **whole) == [(1, 12, 12, 1)] * 8
    assert shapes_seen((20, 20, 4), (0, 0, 1), limit=limit_of(1600)) == [(4, 20, 20, 1)]


def test_smaller_batches_give_the_same_numbers():
    image = volume_of(20, 17, 5)
    results = [
        EagerPredictor(Shifts(), (8, 8, 1), (2, 2, 0), "gaussian", 4, limit=limit).volumes(image)
        for limit in (None, limit_of(128), limit_of(1))
    ]
    for other in results[1:]:
        for name in TASKS:
            np.testing.assert_array_equal(other[name], results[0][name])


def test_batches_that_matter_stay_and_the_user_is_told_once():
    said = []
    seen = shapes_seen((20, 20, 4), (0, 0, 1), limit=limit_of(800), keep_batches=True, warn=said.append)
    assert seen == [(4, 20, 20, 1)]
    assert len(said) == 1
    assert "batch_size = 4" in said[0]
    assert "2 would fit" in said[0]


def test_what_training_has_worked_with_fits_unmeasured():
    limit = VoxelLimit(None, 2, 1, trained_voxels=1000)  # measuring None would fail
    assert limit.windows(10, 100) == 10


def test_activations_alive_at_a_time_are_counted_at_their_peak():
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 1))
    a = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    b = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(a)
    c = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(b)
    network = keras.Model(x, {"y": keras.layers.Add()([a, c])})
    # When c is made: a (still needed), b and c.
    assert bytes_per_voxel(network, 2, 1) == 4 * (8 + 16 + 8)


def test_activations_behind_pooling_count_by_their_voxels():
    """Per voxel of the image: 4 numbers of the convolution before pooling, and a quarter of 8 behind it."""
    from sfgkeras.architecture.stage import Stage
    from sfgkeras.networks import MultiTaskNetwork

    class Pooling(MultiTaskNetwork):
        stages = (Stage(4, pools=True), Stage(8), Stage(2, upsamples=True))

    found = []
    for filters in (8, 8 + 400):
        Pooling.stages = (Stage(4, pools=True), Stage(filters), Stage(2, upsamples=True))
        network = Pooling({"y": 1}, "hard_sharing", activation="relu", seed=0)
        network.build((None, None, None, 1))
        found.append(bytes_per_voxel(network, 2, 1))
    # At the most three of the features of the 400 filters are alive at a time, on a quarter of the voxels: convolved,
    # normalised, activated. They are repeated to the whole size before the last convolution reads them.
    assert 4 * 400 <= found[1] - found[0] <= 4 * (400 + 400)


def test_passes_by_slabs_are_the_statistics_of_whole_volumes():
    """Mean and spread over passes whose outputs differ by a gain that is set at their start."""
    image, network = volume_of(9, 9, 5), Shifts()
    predictor = EagerPredictor(network, (6, 6, 1), (1, 1, 0), "gaussian", 4)

    def start(number):
        network.gain = 1 + number / 4

    passes = Passes(3, start)
    means, spreads = passes.predict(TASKS, lambda: predictor.volumes(image))
    allocated = []

    def allocate(shape):
        allocated.append(np.full(shape, np.nan, np.float32))
        return allocated[-1]

    seen = SimpleNamespace(count=0)
    for name, region, mean, spread in passes.slabs(TASKS, lambda: predictor.slabs(image), allocate):
        np.testing.assert_array_equal(mean, means[name][region])
        assert spread.keys() == spreads[name].keys()
        for ending, values in spread.items():
            np.testing.assert_array_equal(values, spreads[name][ending][region])
            assert values.max() > 0
        seen.count += mean[..., 0].size
    assert seen.count == 2 * image.size
    assert len(allocated) == 2 * 2 * 5  # mean and one more of every slice and task


def peak_memory(length, tmp_path):
    """Returns the bytes that predicting and finishing CT, labels and probabilities takes, beyond image and files."""
    image = volume_of(32, 32, length)
    grid = Grid(image.shape[:3], np.eye(4))
    predictor = EagerPredictor(Shifts(), (0, 0, 1), (0, 0, 0), "gaussian", 4)
    scratch = Scratch(tmp_path, in_memory=0)
    passes = Passes(2)
    tracemalloc.start()
    try:
        finishers = {name: MapFinisher(task, grid, grid, 1, 0.0, scratch) for name, task in TASKS.items()}
        for name, region, mean, spread in passes.slabs(TASKS, lambda: predictor.slabs(image), scratch.empty):
            finishers[name].add(region, mean, spread)
        maps = [finisher.results() for finisher in finishers.values()]
        assert sum(volume.size for found in maps for volume in found.values()) == 5 * image.size
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_the_volume(tmp_path):
    peak_memory(8, tmp_path)  # imports
    short, long = peak_memory(16, tmp_path), peak_memory(256, tmp_path)
    # What grows are lists of slabs, not their voxels: about ten values of 4 kB per slice, statistics and results.
    assert long - short < 240 * 2 * 4096


def test_what_the_outputs_do_not_need_takes_no_memory():
    def network(x, training):
        import tensorflow as tf

        wide = tf.concat([x] * 50, axis=-1)
        return {"y": 2 * x, "also": tf.zeros_like(wide)[:, :1, :1, :1] if training else -x}

    assert bytes_per_voxel(network, 2, 1) == 4 * 3  # the image and both outputs


@pytest.mark.parametrize(("fills", "batches"), [(True, [3, 3]), (False, [3, 1])])
def test_a_last_batch_is_filled_up_or_left_smaller_and_says_the_same(fills, batches):
    image, network = volume_of(8, 8, 4), Shifts()
    result = EagerPredictor(network, (8, 8, 1), (0, 0, 0), "none", 3, fills).volumes(image)
    assert [shape[0] for shape in network.batches] == batches
    alone = EagerPredictor(Shifts(), (8, 8, 1), (0, 0, 0), "none", 1).volumes(image)
    for name in TASKS:
        np.testing.assert_array_equal(result[name], alone[name])
