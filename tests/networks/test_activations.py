"""What single filters answer to an image."""

import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork, UNet, filter_activations, stage_features


class TinyNetwork(MultiTaskNetwork):
    stages = (Stage(4), Stage(6))


def image_batch(rank):
    return np.random.default_rng(0).normal(size=(2, *(5,) * rank, 1)).astype("float32")


@pytest.mark.parametrize("rank", [2, 3])
def test_heads_read_the_activations_of_their_own_and_of_shared_filters(rank):
    network = TinyNetwork({"a": 1, "b": 2}, spatial_rank=rank, seed=1, masks="mode", batch_norm="batch")
    images = image_batch(rank)
    network(images)
    groups = {name: np.arange(p.shape[0]) % 3 for name, p in network.grouping_probabilities().items()}
    for name, grouping in network.groupings().items():
        grouping.grouping_logits.assign(np.where(np.eye(3)[groups[name]] > 0, 5.0, -50.0))
    outputs = network(images)
    found = filter_activations(network, images)
    assert {name: values.shape for name, values in found.items()} == {
        "sfg_1": (2, *(5,) * rank, 4),
        "sfg_2": (2, *(5,) * rank, 6),
    }
    for number, (name, head) in enumerate(zip(network.tasks, network.heads, strict=True)):
        read = np.isin(groups["sfg_2"], [number, 2])
        np.testing.assert_allclose(head(found["sfg_2"] * read), outputs[name], rtol=1e-5, atol=1e-5)
        # And they do read them: without its own filters a task's output is another.
        assert not np.allclose(head(found["sfg_2"] * (groups["sfg_2"] == 2)), outputs[name], atol=1e-3)


def test_activations_are_those_of_most_probable_groups_whatever_the_masks_of_inference():
    network = TinyNetwork({"a": 1}, seed=1, masks="sample", batch_norm="batch")
    images = image_batch(2)
    network(images)
    first, second = (filter_activations(network, images) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    assert int(network.iteration) == 0


def test_a_network_of_fixed_groups_is_refused():
    network = TinyNetwork({"a": 1}, sharing="hard_sharing", seed=1)
    network(image_batch(2))
    with pytest.raises(ValueError, match="sharing = hard_sharing has no grouping probabilities"):
        filter_activations(network, image_batch(2))


@pytest.mark.parametrize("sharing", ["hard_sharing", "single_task", "sfg", "cross_stitch"])
def test_features_of_the_way_down_have_the_sizes_of_their_levels(sharing):
    network = UNet({"a": 1, "b": 2}, sharing, width=1 / 16, levels=2, seed=1)
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 1)).astype("float32")
    network(images)
    found = stage_features(network, images)
    assert list(found) == ["encoder_1_1", "encoder_1", "encoder_2_1", "encoder_2", "encoding_1", "encoding"]
    sizes = [values.shape[1:3] for values in found.values()]
    assert sizes == [(8, 12), (8, 12), (4, 6), (4, 6), (2, 3), (2, 3)]
    tensors = {"hard_sharing": 1, "single_task": 2, "sfg": 3, "cross_stitch": 2}[sharing]
    assert found["encoder_1"].shape[-1] % tensors == 0
    assert found["encoder_1"].dtype == np.float32


def test_features_of_a_chain_are_what_its_head_reads():
    network = TinyNetwork({"a": 2}, "hard_sharing", seed=1)
    images = image_batch(2)
    outputs = network(images)
    found = stage_features(network, images)
    assert list(found) == ["stage_1", "stage_2"]
    np.testing.assert_allclose(network.heads[0](found["stage_2"]), outputs["a"], rtol=1e-5, atol=1e-6)
