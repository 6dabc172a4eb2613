"""The walk over stages, with stages whose results can be told by hand."""

import numpy as np
import pytest
from keras import ops

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.architecture.walk import TensorOperations, walk, walk_and_keep


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


class Several(OneGroup):
    """Streams 0 and 1 everywhere; task t reads stream t, and what every stage leaves for stream 1 is kept."""

    def stage_groups(self, index):
        return (0, 1)

    def head_groups(self, task):
        return (task,)

    def kept_groups(self, index):
        return (1,) if index == 0 else ()


class Counted(TensorOperations):
    """Notes what is done to which tensor."""

    def __init__(self):
        self.done = []

    def pool(self, features, maximum_share=1.0):
        self.done.append("pool")
        return super().pool(features, maximum_share)

    def upsample(self, features, like):
        self.done.append("upsample")
        return super().upsample(features, like)

    def concatenate(self, parts):
        self.done.append("concatenate")
        return super().concatenate(parts)


STAGES = (
    Stage(1, name="down", pools=True),
    Stage(1, name="bottom"),
    Stage(1, name="up", upsamples=True, skip="down"),
)


@pytest.mark.parametrize(("joined", "each"), [(True, 1), (False, 2)])
def test_streams_that_are_one_tensor_are_pooled_upsampled_and_joined_once(joined, each):
    operations = Counted()

    def run_stage(index, streams, sized_image):
        found = streams[0] + 1.0
        return {0: found, 1: found if joined else streams[1] + 1.0}

    walk(build_architecture(STAGES, 1.0, [None, None]), ops.ones((1, 4, 1, 1)), Several(), operations, run_stage)
    assert operations.done == ["pool"] * each + ["upsample"] * each + ["concatenate"] * each


def test_every_task_is_handed_its_own_stream_and_what_is_kept_is_there_in_the_end():
    """Stream 0 counts by ones, stream 1 by tens; what is kept is what a stage leaves before its pooling."""

    def run_stage(index, streams, sized_image):
        return {0: streams[0][..., :1] + 1.0, 1: streams[1][..., :1] + 10.0}

    image = ops.convert_to_tensor(np.arange(4, dtype="float32").reshape(1, 4, 1, 1))
    architecture = build_architecture(STAGES, 1.0, [None, None])
    heads, kept = walk_and_keep(architecture, image, Several(), TensorOperations(), run_stage)
    np.testing.assert_array_equal(np.asarray(heads[0][0]).ravel(), [4, 4, 6, 6])
    np.testing.assert_array_equal(np.asarray(heads[1][1]).ravel(), [31, 31, 33, 33])
    assert [list(head) for head in heads] == [[0], [1]]
    assert list(kept) == [0]
    np.testing.assert_array_equal(np.asarray(kept[0][1]).ravel(), [10, 11, 12, 13])


def test_a_stage_can_have_the_image_at_its_own_size_pooled_once_per_level():
    operations, sizes = Counted(), []

    def run_stage(index, streams, sized_image):
        sizes.append((sized_image().shape[1], sized_image().shape[1])[0])
        return streams

    stages = [Stage(1, pools=True), Stage(1, pools=True), Stage(1), Stage(1, upsamples=True)]
    image = ops.convert_to_tensor(np.arange(5, dtype="float32").reshape(1, 5, 1, 1))
    walk(build_architecture(stages, 1.0, [None]), image, OneGroup(), operations, run_stage)
    assert sizes == [5, 3, 2, 3]
    assert operations.done.count("pool") == 4  # two of features, two of the image


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling_and_upsampling_of_any_rank_are_those_of_numpy(rank):
    rng, operations = np.random.default_rng(rank), TensorOperations()
    image = rng.normal(size=(2, *(4,) * rank, 3)).astype("float32")
    blocks = image.reshape(2, *(2, 2) * rank, 3)
    inner = tuple(range(2, 2 * rank + 1, 2))
    largest, mean = blocks.max(axis=inner), blocks.mean(axis=inner)
    for share in (1.0, 0.0, 0.3):
        found = operations.pool(ops.convert_to_tensor(image), share)
        np.testing.assert_allclose(found, share * largest + (1 - share) * mean, rtol=1e-4, atol=1e-6)
    repeated = image
    for axis in range(1, rank + 1):
        repeated = np.repeat(repeated, 2, axis=axis)
    cut = (slice(None), *(slice(0, 7),) * rank)
    found = operations.upsample(ops.convert_to_tensor(image), ops.zeros((2, *(7,) * rank, 1)))
    np.testing.assert_array_equal(found, repeated[cut])
