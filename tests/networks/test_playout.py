"""The network of Playout et al.: its parts, its ways up, and every sharing mechanism on it."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.networks import PlayoutNet, count_multiplies, group_network, harden
from sfgkeras.networks.playout import playout_stages
from sfgkeras.sharing import SHARING
from sfgkeras.tables.networks import PlayoutSettings

TASKS = {"red": 2, "bright": 2, "presence": 2}
HEADS = {"presence": "vector"}
WIDTH = 3 / 16  # 6 filters on the first level, two for each task


def build(sharing, images, scramble, **settings):
    settings = {"levels": 2, "kernel_size": 3, "width": WIDTH} | settings
    network = PlayoutNet(TASKS, sharing, heads=HEADS, seed=0, masks="mode", **settings)
    network(images(size=8, rank=settings.get("spatial_rank", 2)))
    scramble(network)
    return network


def test_every_level_of_the_encoder_reads_all_finer_ones_and_pools_by_both_means():
    stages = playout_stages(PlayoutSettings())
    architecture = build_architecture(stages, 1.0, [None, "encoding"])
    names = architecture.names
    reads = {names[index]: {names[source] for source in architecture.sources(index)} for index in range(len(names))}
    assert reads["encoder_3"] == {"encoder_1", "encoder_2"}
    assert reads["encoding"] == {"encoder_1", "encoder_2", "encoder_3"}
    assert reads["decoder_1"] == {"decoder_2", "encoder_1"}
    assert {stage.maximum_share for stage in stages if stage.pools} == {0.5}
    assert all(stage.num_blocks for stage in stages)
    assert [stage.name for stage in stages if stage.kernel_size > 3] == ["encoding"]
    assert [stage.per_task for stage in stages] == [False] * 4 + [True] * 3


def test_each_part_changes_what_is_computed(images, scramble):
    """Every setting of the shape does something."""
    x, outputs = images(size=8), []
    for settings in ({}, {"maximum_share": 1.0}, {"kernel_size": 5}, {"dense": False}, {"levels": 1}):
        outputs.append(np.asarray(build("hard_sharing", images, scramble, **settings)(x)["red"]))
    for place, one in enumerate(outputs):
        assert all(np.abs(one - other).max() > 1e-3 for other in outputs[place + 1 :])


@pytest.mark.parametrize(
    ("sharing", "rank"),
    [
        ("sfg", 2),
        *(pytest.param(sharing, 2, marks=pytest.mark.slow) for sharing in SHARING if sharing != "sfg"),
        pytest.param("sfg", 3, marks=pytest.mark.slow),
    ],
)
def test_every_mechanism_hardens_for_sizes_that_do_not_divide(sharing, rank, images, scramble):
    network = build(sharing, images, scramble, spatial_rank=rank)
    hardened = harden(network)
    for size in (8, 7):
        x = images(size=size, rank=rank)[:, : size - 1]
        expected = network(x)
        assert {name: values.shape[1:] for name, values in expected.items()} == {
            "red": (*x.shape[1:-1], 2), "bright": (*x.shape[1:-1], 2), "presence": (2,),
        }  # fmt: skip
        for same in (group_network(network), hardened):
            for name, values in same(x).items():
                np.testing.assert_allclose(values, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    shape = (8,) * rank + (1,)
    assert count_multiplies(hardened, shape) <= count_multiplies(network, shape)


def test_the_auxiliary_cost_trains_the_encoder_alone(images):
    import tensorflow as tf

    network = PlayoutNet(TASKS, heads=HEADS, levels=1, width=WIDTH, seed=0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(network(images(size=8), training=True)["presence"]))
    gradients = tape.gradient(loss, network.trainable_variables)
    reached = {v.path for v, g in zip(network.trainable_variables, gradients, strict=True) if g is not None}
    assert any("convolution_1" in path for path in reached)
    assert not any("convolution_3" in path for path in reached)  # the ways up


def test_it_is_saved_with_its_shape_and_written_as_onnx(images, scramble, tmp_path):
    network = build("sfg", images, scramble, maximum_share=0.25)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    x = images(size=7)
    expected = network(x)
    assert loaded.shape == network.shape
    assert loaded.get_config() == network.get_config()
    for name, values in expected.items():
        np.testing.assert_array_equal(loaded(x)[name], values)
    onnxruntime = pytest.importorskip("onnxruntime")
    from sfgkeras.networks.onnx_export import build_onnx_model

    session = onnxruntime.InferenceSession(build_onnx_model(harden(network)).SerializeToString())
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max())
