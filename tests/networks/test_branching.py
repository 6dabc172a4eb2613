"""Networks whose stages branch and have blocks of several kinds, and the two of papers that do, Y-Net and MGCN."""

import keras
import numpy as np
import pytest

from sfgkeras.errors import ConfigError
from sfgkeras.networks import MGCN, NETWORKS, YNet, count_multiplies, count_parameters, group_network, harden
from sfgkeras.networks.expected_multiplies import all_shared, expected_multiplies
from sfgkeras.sharing import SHARING

TASKS = {"tissue": 3, "edge": 1, "diagnosis": 2}
SMALL = {
    "ynet": {"depth": 1, "block": "dilated_pyramid", "width": 3 / 8},
    "mgcn": {"levels": 3, "blocks": 1, "kernel": 3, "width": 1 / 8},
}
SLOW = pytest.mark.slow


def build(name, sharing, scramble, images, tasks=TASKS, rank=2, **settings):
    network = NETWORKS[name](
        tasks, sharing, rank, heads={"diagnosis": "vector"}, seed=0, masks="mode", **SMALL[name], **settings
    )
    network(images(size=8, rank=rank))
    scramble(network)
    return network


def assert_same(outputs, expected, tolerance=1e-4):
    for name, values in outputs.items():
        np.testing.assert_allclose(values, expected[name], atol=tolerance * np.abs(expected[name]).max())


@pytest.mark.parametrize(
    ("name", "sharing"),
    [
        pytest.param(name, sharing, marks=() if (name, sharing) == ("mgcn", "sfg") else SLOW)
        for name in SMALL
        for sharing in SHARING
    ],
)
def test_every_mechanism_hardens_to_an_ordinary_network_that_loads(name, sharing, images, scramble, tmp_path):
    network = build(name, sharing, scramble, images)
    x = images(size=8)
    expected = network(x)
    hardened = harden(network)
    hardened.save(tmp_path / "hardened.keras")
    assert_same(keras.saving.load_model(tmp_path / "hardened.keras", custom_objects={})(x), expected)
    assert_same(group_network(network)(x), expected)
    assert count_multiplies(hardened, x.shape[1:]) <= count_multiplies(network, x.shape[1:])
    matrix = network.sharing_matrix()
    assert list(matrix) == list(network.trunk.architecture.names)


@pytest.mark.parametrize("name", ["mgcn", pytest.param("ynet", marks=SLOW)])
def test_a_saved_network_gives_the_same_when_it_is_loaded(name, images, scramble, tmp_path):
    network = build(name, "sfg", scramble, images)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    assert loaded.shape == network.shape
    for task, values in network(images(size=8)).items():
        np.testing.assert_array_equal(loaded(images(size=8))[task], values)


@SLOW
@pytest.mark.parametrize("name", SMALL)
def test_maps_have_the_size_of_the_image_even_if_it_cannot_be_halved(name, images, scramble):
    network = build(name, "sfg", scramble, images)
    outputs = network(images(size=7))
    shapes = {task: tuple(values.shape) for task, values in outputs.items()}
    assert shapes == {"tissue": (3, 7, 7, 3), "edge": (3, 7, 7, 1), "diagnosis": (3, 2)}
    assert_same(harden(network)(images(size=7)), outputs)


@SLOW
@pytest.mark.parametrize("name", SMALL)
def test_volumes_are_taken_as_slices_are(name, images, scramble):
    network = build(name, "hard_sharing", scramble, images, rank=3)
    x = images(size=8, rank=3)
    assert network(x)["tissue"].shape == (3, 8, 8, 8, 3)
    assert_same(harden(network)(x), network(x))


@SLOW
@pytest.mark.parametrize("name", SMALL)
def test_what_is_expected_of_shared_filters_is_what_the_hardened_network_multiplies(name, images, scramble):
    network = build(name, "sfg", scramble, images)
    architecture = network.trunk.architecture
    expected = expected_multiplies(architecture, all_shared(architecture), network.heads, (8, 8, 1))
    shared = build(name, "hard_sharing", scramble, images)
    assert float(expected) == pytest.approx(count_multiplies(harden(shared), (8, 8, 1)), rel=1e-6)


def test_each_branch_of_y_net_serves_the_tasks_at_its_end(images, scramble):
    architecture = build("ynet", "sfg", scramble, images).trunk.architecture
    behind = {name: architecture.tasks_behind(index) for index, name in enumerate(architecture.names)}
    assert behind["encoding"] == [0, 1, 2]
    assert behind["branch_4"] == behind["branch_5"] == [2]
    assert behind["decoder_2"] == behind["decoder_1"] == [0, 1]
    levels = dict(zip(architecture.names, architecture.levels, strict=True))
    assert [levels[name] for name in ("encoding", "branch_5", "decoder_2", "decoder_1")] == [2, 4, 1, 0]


def test_a_branch_that_no_head_reads_is_not_there():
    only_map = YNet({"tissue": 2}, width=1 / 16)
    assert "branch_4" not in only_map.trunk.architecture.names
    only_class = YNet({"diagnosis": 2}, width=1 / 16, heads={"diagnosis": "vector"})
    assert only_class.trunk.architecture.names[-1] == "branch_5"
    views = MGCN({"view": 2}, width=1 / 16, heads={"view": "vector"})
    assert views.trunk.architecture.names == ("encoder_1", "encoder_2", "encoder_3", "encoder_4")


@pytest.mark.parametrize("block", ["residual", "dilated_pyramid"])
def test_parameters_of_y_net_grow_with_width_and_with_depth(block):
    def parameters(**knobs):
        network = YNet(
            {"tissue": 2, "diagnosis": 2}, "hard_sharing", heads={"diagnosis": "vector"}, block=block, **knobs
        )
        network.build((None, 16, 16, 3))
        return count_parameters(network)

    by_width = [parameters(width=width, depth=1) for width in (0.125, 0.25, 0.5)]
    by_depth = [parameters(width=0.125, depth=depth) for depth in (0, 1, 2)]
    assert by_width[0] < by_width[1] < by_width[2]
    assert by_depth[0] < by_depth[1] < by_depth[2]
    # One more block at the bottom: 2 convolutions of 3 x 3, or 3 of them, and their normalisations and slopes.
    channels, convolutions = round(4 * 64 * 0.125), {"residual": 2, "dilated_pyramid": 3}[block]
    assert by_depth[2] - by_depth[1] == convolutions * (9 * channels**2 + 3 * channels)


def test_a_larger_kernel_of_mgcn_costs_long_thin_kernels_only():
    def parameters(kernel):
        network = MGCN({"points": 1}, "hard_sharing", width=1 / 16, levels=2, blocks=1, kernel=kernel)
        network.build((None, 16, 16, 1))
        return count_parameters(network)

    # On two levels two ways of two kernels each, from 4 channels to 4.
    assert parameters(7) - parameters(5) == 2 * 4 * (7 - 5) * 4 * 4


def test_a_large_kernel_of_an_even_side_is_refused():
    with pytest.raises(ConfigError, match="kernel = 6 is even.*write 7"):
        MGCN({"points": 1}, kernel=6)
