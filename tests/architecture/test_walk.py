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

    def pool(self, features, maximum_share=1.0):
        self.pooled += 1
        return super().pool(features, maximum_share)


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


def test_mixed_pooling_weighs_the_maximum_and_the_mean():
    image = np.array([0, 3, 4, 4, 8], "float32").reshape(1, 5, 1, 1)
    for share, expected in ((1.0, [4, 5, 9]), (0.0, [2.5, 5, 9]), (0.25, [2.875, 5, 9])):
        _, seen = send([Stage(1, pools=True, maximum_share=share), Stage(1)], image)
        np.testing.assert_allclose(seen[1].ravel(), expected)


def test_a_skip_brings_several_stages_from_finer_and_coarser_levels_to_its_own():
    image = np.arange(8, dtype="float32").reshape(1, 8, 1, 1)
    stages = [
        Stage(1, name="fine", pools=True, maximum_share=0.0),
        Stage(1, name="middle", pools=True),
        Stage(1, name="bottom", skip="fine"),
        Stage(1, upsamples=True),
        Stage(1, upsamples=True, skip=("middle", "fine", "bottom")),
    ]
    architecture = build_architecture(stages, 1.0, [None])
    assert [architecture.sources(index) for index in range(5)] == [(), (0,), (1, 0), (2,), (3, 1, 0, 2)]
    fine = image.ravel() + 1
    middle = fine.reshape(4, 2).mean(axis=1) + 1
    bottom = middle.reshape(2, 2).max(axis=1)
    _, seen = send(stages, image)
    # Regions of 4 voxels per axis: the mean, as the stage that they come from pools.
    expected = np.stack([bottom, fine.reshape(2, 4).mean(axis=1)], axis=-1)
    np.testing.assert_allclose(seen[2][0, :, 0], expected)
    coarse = np.repeat(expected[:, :1] + 1, 4)
    np.testing.assert_allclose(seen[4][0, :, 0, 2:5].T, [np.repeat(middle, 2), fine, coarse])


def test_a_branch_begins_with_what_was_there_before_pooling():
    image = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    stages = [Stage(1, name="down", pools=True), Stage(1, name="branch"), Stage(1, reads="down", skip="branch")]
    heads, seen = send(stages, image, taps=("branch", None))
    np.testing.assert_array_equal(seen[1].ravel(), [2, 4])
    np.testing.assert_array_equal(seen[2][0, :, 0], [[1, 3], [2, 3], [3, 5], [4, 5]])
    np.testing.assert_array_equal(heads[0].ravel(), [3, 5])


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
