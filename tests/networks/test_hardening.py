"""Hardened networks equal masked ones in mode, compute only what is needed, and are ordinary Keras models."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import (
    VGG11,
    HighResNet,
    MultiTaskNetwork,
    count_multiplies,
    count_parameters,
    group_network,
    harden,
    recalibrate,
)


def tasks_of(count):
    return {f"task_{index}": index + 1 for index in range(count)}


def assert_equal(outputs, expected):
    """Equal to 1e-4 of the largest output."""
    for name, output in outputs.items():
        reference = np.asarray(expected[name])
        np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())
        assert reference.std() > 0


VARIANTS = [
    (num_tasks, rank, routing, mask_residual, "recalibrated")
    for num_tasks, rank in [(1, 2), (2, 3), (3, 2)]
    for routing in ("mixed", "separate", "dense")
    for mask_residual in (True, False)
]


@pytest.mark.parametrize(
    ("num_tasks", "rank", "routing", "mask_residual", "batch_norm"),
    [*VARIANTS, (2, 2, "mixed", True, "batch"), (2, 2, "mixed", True, "population")],
)
def test_a_hardened_network_equals_the_masked_one_in_mode(
    num_tasks, rank, routing, mask_residual, batch_norm, small_network, images, scramble
):
    network = small_network(
        tasks_of(num_tasks),
        spatial_rank=rank,
        masks="mode",
        seed=0,
        mask_residual=mask_residual,
        routing=routing,
        batch_norm=batch_norm,
    )
    x = images(7, rank, channels=2)
    network(x)
    scramble(network)
    expected = network(x)
    assert_equal(group_network(network)(x), expected)
    assert_equal(harden(network)(x), expected)


@pytest.mark.parametrize(("network_class", "rank"), [(HighResNet, 2), (VGG11, 3)])
def test_the_networks_of_the_paper_harden_to_one_part_in_ten_thousand(network_class, rank, images, scramble):
    width = 0.3 if network_class is HighResNet else 0.06
    network = network_class(tasks_of(2), spatial_rank=rank, width=width, masks="mode", seed=0)
    x = images(9, rank)
    network(x)
    scramble(network)
    hardened = harden(network)
    assert_equal(hardened(x), network(x))
    assert count_parameters(hardened) < count_parameters(network)
    shape = x.shape[1:]
    assert count_multiplies(hardened, shape) < 0.5 * count_multiplies(network, shape)


def test_a_trained_network_hardens_with_the_statistics_of_its_training(small_network, images):
    network = small_network(tasks_of(2), masks="mode", seed=0)
    x = images()
    for _ in range(4):
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_mean((output - x) ** 2) for output in network(x, training=True).values())
        gradients = tape.gradient(total, network.trainable_variables)
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
            variable.assign(variable - 0.1 * gradient)
    with pytest.raises(ValueError, match=r"recalibrate\(network, dataset\)"):
        harden(network)
    recalibrate(network, [x])
    assert_equal(harden(network)(x), network(x))


def test_probabilities_that_are_not_trained_harden_to_an_even_allocation(small_network, images):
    network = small_network(tasks_of(2), "constant_p", masks="mode", seed=0)
    x = images()
    network(x)
    counts = [p.sum(0).tolist() for p in group_network(network).grouping_probabilities().values()]
    assert counts == [[2, 2, 2], [3, 3, 3], [3, 3, 2]]
    assert_equal(harden(network)(x), network(x))


@pytest.mark.parametrize("sharing", ["hard_sharing", "single_task", "constant_mask"])
def test_networks_of_constant_masks_harden_too(sharing, small_network, images, scramble):
    network = small_network(tasks_of(2), sharing, seed=0)
    x = images()
    network(x)
    scramble(network)
    assert_equal(harden(network)(x), network(x))


@pytest.mark.parametrize("routing", ["mixed", "separate", "dense"])
def test_the_network_of_one_task_equals_its_part_and_is_smaller(routing, small_network, images, scramble):
    network = small_network(tasks_of(3), masks="mode", seed=0, routing=routing)
    x = images()
    network(x)
    scramble(network)
    whole = harden(network)
    for task in network.tasks:
        part = harden(network, task)
        outputs = part(x)
        assert list(outputs) == [task]
        assert_equal(outputs, network(x))
        assert count_parameters(part) < count_parameters(whole)


EMPTY = {
    "no shared filter in the middle": [[0, 0, 1, 1, 2, 2], [0] * 4 + [1] * 5, [0, 1, 2, 2, 0, 1, 2, 0]],
    "a task owns nothing at first": [[1, 1, 2, 2, 2, 1], [0] * 4 + [1] * 5, [0, 1, 2, 2, 0, 1, 2, 0]],
    "a task owns nothing at all": [[1, 1, 2, 2, 2, 1], [1] * 9, [1, 1, 2, 2, 2, 2, 1, 1]],
    "all is shared": [[2] * 6, [2] * 9, [2] * 8],
    "one task takes all and the other all that follows": [[0] * 6, [1] * 9, [0, 1, 0, 1, 0, 1, 0, 1]],
    "the last layer has one task only": [[2] * 6, [2] * 9, [0] * 8],
}


@pytest.mark.parametrize("mask_residual", [True, False])
@pytest.mark.parametrize("groups", list(EMPTY.values()), ids=list(EMPTY))
def test_empty_groups_and_streams_harden_exactly(groups, mask_residual, small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0, mask_residual=mask_residual)
    x = images()
    network(x)
    scramble(network, groups=groups)
    expected = network(x)
    for model in (group_network(network), harden(network)):
        for name, output in model(x).items():
            reference = np.asarray(expected[name])
            np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())


def test_what_no_head_depends_on_does_not_exist(small_network, images, scramble):
    """The second layer has no filter of task 1, so nobody reads task 1's filters of the first one."""
    network = small_network(tasks_of(2), masks="mode", seed=0)
    network(images())
    scramble(network, groups=[[0, 0, 0, 0, 1, 2], [1] * 4 + [2] * 5, [0, 1, 2, 2, 0, 1, 2, 0]])
    grouped = group_network(network)
    assert not [w.path for w in grouped.weights if "1_task_1" in w.path]
    assert [w.path for w in grouped.weights if "1_task_2" in w.path]


@keras.saving.register_keras_serializable(package="test_hardening")
class HardenedHourglass(MultiTaskNetwork):
    """One level down, and up again beside a skip."""

    stages = (
        Stage(5, name="down", pools=True, num_blocks=1),
        Stage(6, name="bottom"),
        Stage(6, name="up", upsamples=True, skip="down"),
        Stage(5, name="last"),
    )


@pytest.mark.parametrize(
    ("network_class", "num_tasks", "routing", "seed"),
    [
        ("small", 1, "mixed", 1),
        ("small", 3, "separate", 2),
        (HardenedHourglass, 2, "mixed", 3),
        (HardenedHourglass, 3, "mixed", 4),
        pytest.param(HardenedHourglass, 2, "separate", 5, marks=pytest.mark.slow),
        pytest.param("small", 3, "mixed", 6, marks=pytest.mark.slow),
        pytest.param("small", 2, "dense", 7, marks=pytest.mark.slow),
        pytest.param(HardenedHourglass, 1, "mixed", 8, marks=pytest.mark.slow),
    ],
)
def test_every_filter_and_every_channel_that_is_kept_is_needed(
    network_class, num_tasks, routing, seed, small_network, images, scramble, tmp_path
):
    """With groups of all sizes, outputs depend on every filter of every kernel, and on every channel it reads."""
    network_class = small_network if network_class == "small" else network_class
    network = network_class(tasks_of(num_tasks), masks="mode", seed=0, routing=routing)
    x = tf.constant(images(8, batch=2))
    network(x)
    rng = np.random.default_rng(seed)
    groups = [
        rng.choice(grouping.num_groups, grouping.filters, p=rng.dirichlet(np.full(grouping.num_groups, 0.5)))
        for grouping in network.groupings().values()
    ]
    scramble(network, groups=groups)
    expected = network(x)
    for task in (None, "task_0"):
        hardened = harden(network, task)
        path = tmp_path / "hardened.keras"
        hardened.save(path)
        hardened = keras.saving.load_model(path, safe_mode=True)
        kernels = [layer.kernel for layer in hardened.layers if isinstance(layer, keras.layers.Conv2D)]
        with tf.GradientTape() as tape:
            outputs = hardened(x)
            # Any random sum: no two contributions cancel.
            total = sum(tf.reduce_sum(value * rng.normal(size=value.shape)) for value in outputs.values())
        for name, value in outputs.items():
            scale = max(1.0, np.abs(expected[name]).max())
            np.testing.assert_allclose(value, expected[name], atol=2e-4 * scale)
        of_heads = {hardened.get_layer(head.name).kernel.path for head in network.heads[: 1 if task else None]}
        for kernel, gradient in zip(kernels, tape.gradient(total, [k.value for k in kernels]), strict=True):
            size = np.abs(gradient)
            if kernel.path not in of_heads:  # one that reads nothing has one channel of zeros
                assert size.max(axis=(0, 1, 2)).min() > 0, kernel.path
                assert size.max(axis=(0, 1, 3)).min() > 0, kernel.path


def test_folding_leaves_no_normalisation(small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0)
    x = images()
    network(x)
    scramble(network)
    folded, unfolded = harden(network), harden(network, fold=False)

    def normalisations(model):
        return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)

    assert normalisations(folded) == 0
    assert normalisations(unfolded) == 3 * 3 + 3 * 2
    assert_equal(folded(x), unfolded(x))


def test_a_hardened_network_saves_and_loads_without_this_package(small_network, images, scramble, tmp_path):
    network = small_network(tasks_of(2), masks="mode", seed=0, activation="relu")
    x = images()
    network(x)
    scramble(network)
    hardened = harden(network)
    hardened.save(tmp_path / "hardened.keras")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", hardened(x)["task_1"])
    script = f"""
        import sys
        import keras
        import numpy as np

        model = keras.saving.load_model(r"{tmp_path / "hardened.keras"}", safe_mode=True)
        y = model(np.load(r"{tmp_path / "x.npy"}"))["task_1"]
        np.testing.assert_allclose(y, np.load(r"{tmp_path / "y.npy"}"), rtol=1e-4, atol=1e-5)
        assert not [name for name in sys.modules if name.startswith("sfgkeras")]
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_hardened_network_under_mixed_precision_keeps_float32_logits(small_network, images):
    network = small_network(tasks_of(2), masks="mode", seed=0, dtype="mixed_bfloat16")
    x = images()
    outputs = network(x)
    hardened = harden(network)(x)
    assert hardened["task_0"].dtype == "float32"
    scale = np.abs(outputs["task_0"]).max()
    np.testing.assert_allclose(hardened["task_0"], outputs["task_0"], atol=0.05 * scale)


@pytest.fixture(scope="module")
def undecided(small_network, images, scramble):
    """A network of two tasks, whose groups of 6, 9 and 8 filters are no multiples of 4, with images and loss."""
    network = small_network(tasks_of(2), masks="mode", seed=0)
    network(images())
    scramble(network, groups=[[0, 0, 0, 0, 0, 2], [1, 1, 1, 1, 0, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]])
    return network


def test_groups_hold_multiples_and_the_hardened_network_is_that_of_these_groups(undecided, images):
    x = images()
    weights = undecided.get_weights()
    with pytest.warns(UserWarning, match=r"\d+ filters of 'small_network.*multiples of 4; on images of noise"):
        hardened = harden(undecided, multiple_of=4)
    grouped = group_network(undecided, multiple_of=4)
    counts = [p.sum(0) for p in grouped.grouping_probabilities().values()]
    for count, rest in zip(counts, (2, 1, 0), strict=True):
        assert sorted(count % 4) == [0, 0, rest]
    assert counts[1].tolist() == [1, 4, 4]  # the rest of 9 is 1, and stays alone
    assert_equal(hardened(x), grouped(x))
    for now, before in zip(undecided.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, before)


def test_with_data_it_says_how_far_outputs_move_on_them(undecided, images, capsys):
    batches = [images(seed=seed) for seed in (1, 2)]
    with pytest.warns(UserWarning, match="on the data given that moves outputs") as caught:
        hardened = harden(undecided, data=batches, multiple_of=4)
    capsys.readouterr()
    (message,) = [str(warning.message) for warning in caught if "leave their" in str(warning.message)]
    before, after = (
        np.concatenate([np.asarray(model(x)["task_0"]) for x in batches]) for model in (undecided, hardened)
    )
    moved = np.sqrt(((after - before) ** 2).mean() / np.mean([undecided(x)["task_0"].numpy().var() for x in batches]))
    assert f"task_0 by {moved:.2%}" in message


def test_groups_that_are_fixed_or_suit_stay_without_a_word(small_network, undecided, images, recwarn):
    fixed = small_network(tasks_of(2), "constant_mask", seed=0)
    x = images()
    expected = fixed(x)
    assert group_network(fixed, multiple_of=4) is fixed
    assert_equal(harden(fixed, multiple_of=4)(x), expected)
    assert_equal(harden(undecided, multiple_of=1)(x), undecided(x))
    assert not [warning for warning in recwarn if "filters" in str(warning.message)]


def test_a_network_without_weights_or_task_is_refused(small_network, images):
    network = small_network(tasks_of(2), seed=0)
    with pytest.raises(ValueError, match="has no weights yet"):
        harden(network)
    network(images())
    with pytest.raises(ValueError, match="no task 'task_3', did you mean"):
        harden(network, "task_3")
