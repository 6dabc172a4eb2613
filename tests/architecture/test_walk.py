"""The walk over stages, with stages whose results can be told by hand."""

import numpy as np
import pytest
from keras import ops

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.architecture.walk import TensorOperations, walk


class OneGroup:
    """One stream that everything reads."""

    def stage_groups(self, index):
        return (0,)

    def head_groups(self, task):
        return (0,)

    def kept_groups(self, index):
        return ()


class Recording(TensorOperations):
    """Counts what the walk does."""

    def __init__(self):
        self.pooled = 0

    def pool(self, features):
        self.pooled += 1
        return super().pool(features)


def send(stages, image, taps=(None,), operations=None):
    """Runs stages that add 1 to everything; returns what heads read and what each stage read."""
    seen = []

    def run_stage(index, streams, sized_image):
        seen.append(np.asarray(streams[0]))
        return {group: stream + 1.0 for group, stream in streams.items()}

    architecture = build_architecture(stages, 1.0, taps)
    found = walk(architecture, ops.convert_to_tensor(image), OneGroup(), operations or TensorOperations(), run_stage)
    return [np.asarray(streams[0]) for streams in found], seen


def test_a_chain_hands_every_stage_what_the_one_before_it_left():
    heads, _ = send([Stage(1), Stage(1), Stage(1)], np.zeros((1, 4, 4, 1), "float32"))
    np.testing.assert_array_equal(heads[0], np.full((1, 4, 4, 1), 3.0))


def test_pooling_takes_the_maximum_and_keeps_an_odd_last_voxel():
    image = np.arange(5, dtype="float32").reshape(1, 5, 1, 1)
    _, seen = send([Stage(1, pools=True), Stage(1)], image)
    np.testing.assert_array_equal(seen[1].ravel(), [2, 4, 5])


@pytest.mark.parametrize("length", [4, 5, 6, 7])
def test_upsampling_repeats_voxels_and_cuts_to_the_size_that_was_pooled(length):
    image = np.arange(length, dtype="float32").reshape(1, length, 1, 1)
    heads, seen = send([Stage(1, pools=True), Stage(1, upsamples=True)], image)
    pooled = [max(image.ravel()[start : start + 2]) + 1 for start in range(0, length, 2)]
    np.testing.assert_array_equal(seen[1].ravel(), np.repeat(pooled, 2)[:length])
    assert heads[0].shape == image.shape


def test_a_skip_brings_what_was_there_before_pooling():
    image = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    stages = [Stage(1, name="down", pools=True), Stage(1), Stage(1, upsamples=True, skip="down")]
    _, seen = send(stages, image)
    np.testing.assert_array_equal(seen[2][0, :, 0], [[3, 1], [3, 2], [5, 3], [5, 4]])


def test_heads_read_the_stages_that_they_sit_on_behind_their_pooling():
    image = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    stages = [Stage(1, name="down", pools=True), Stage(1)]
    heads, _ = send(stages, image, taps=("down", None))
    np.testing.assert_array_equal(heads[0].ravel(), [2, 4])
    np.testing.assert_array_equal(heads[1].ravel(), [3, 5])


def test_features_are_pooled_once_for_the_next_stage_and_for_a_head():
    operations = Recording()
    send([Stage(1, name="down", pools=True), Stage(1)], np.zeros((1, 4, 4, 1), "float32"), ("down", None), operations)
    assert operations.pooled == 1
