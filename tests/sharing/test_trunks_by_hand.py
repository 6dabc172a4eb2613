"""What trunks compute, in numpy: kernels of one voxel without normalisation, so that a stage is a product of matrices.

Every image is a list of voxels, and a stage is `relu(x W + b)` of each; so what is read, by whom, in which order of
channels, and what is mixed where, is all that there is to get wrong.
"""

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.filter_grouping import MASK_SOURCES
from sfgkeras.sharing import (
    SFG,
    ConstantMask,
    ConstantP,
    CrossStitch,
    DeepRelationship,
    FullyAdaptive,
    HardSharing,
    SingleTask,
    Sluice,
    SoftSharing,
    Tree,
)

MEAN, MODE = MASK_SOURCES.index("mean"), MASK_SOURCES.index("mode")
ONE = tf.constant(1.0)
ROUTINGS = ("mixed", "separate", "dense")


def stage(filters, name, **options):
    return Stage(filters, kernel_size=1, normalisation="none", name=name, **options)


SKIPPED = (stage(5, "one"), stage(4, "two"), stage(6, "three", skip="one"))
IMAGE = np.random.default_rng(9).normal(size=(2, 3, 2, 3)).astype("float32")


def relu(values):
    return np.maximum(values, 0)


def build(sharing, stages=SKIPPED, num_tasks=2, taps=None, seed=0):
    """Builds a trunk, with random numbers for all kernels and biases."""
    settings = LayerSettings(
        2, num_tasks, activation="relu", seeds=np.random.default_rng(seed), task_names=list("abcd")[:num_tasks]
    )
    trunk = sharing.build_trunk(build_architecture(stages, 1.0, taps or [None] * num_tasks), settings)
    trunk.build((None, 3, 2, 3))
    rng = np.random.default_rng(seed)
    for variable in trunk.trainable_variables:
        if variable.path.endswith(("kernel", "bias")):
            variable.assign(rng.normal(size=variable.shape))
    return trunk


def outputs(trunk, **options):
    return [np.asarray(found) for found in trunk(IMAGE, training=False, **options)]


def convolved(layer, x):
    """Returns `relu(x W + b)` with the kernel of a layer, which has to read as many channels as there are."""
    kernel = np.asarray(layer.kernel)[0, 0]
    assert kernel.shape[0] == x.shape[-1]
    return relu(x @ kernel + np.asarray(layer.bias))


def read(routing, num_groups, group):
    if routing == "dense":
        return tuple(range(num_groups))
    return (group,) if routing == "separate" or group == num_groups - 1 else (group, num_groups - 1)


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_groups_that_are_fixed_read_the_channels_of_their_routing_group_by_group(routing, seed):
    """Channels of a group keep their order; those of tasks stand before the shared ones, and skipped ones behind."""
    rng = np.random.default_rng(seed)
    allocation = [rng.permutation(np.resize([0, 1, 2], each.filters)) for each in SKIPPED]
    trunk = build(ConstantMask(routing=routing, allocation=allocation), seed=seed)
    left = []  # by stage: features by group

    def stream(at, sources):
        return np.concatenate([left[at][group] for group in sources], axis=-1)

    for index in range(3):
        now = {}
        for group in range(3):
            sources = read(routing, 3, group)
            x = IMAGE if index == 0 else stream(index - 1, sources)
            x = np.concatenate([x, stream(0, sources)], axis=-1) if index == 2 else x
            layer = trunk.convolutions.get(f"{index}_{group}")
            if layer is not None:
                now[group] = convolved(layer, x)
                assert now[group].shape[-1] == (allocation[index] == group).sum()
        left.append(now)
    for task, found in enumerate(outputs(trunk)):
        np.testing.assert_allclose(found, stream(2, (task, 2)), rtol=1e-4, atol=1e-5)


def masked(trunk, routing, masks, num_groups=3):
    """Returns what heads read by section 3.1 of the paper: `F_g' = m_g relu(conv(sum of what g reads))`."""
    left = []
    for index in range(3):
        layer, now = trunk.convolutions[index].convolution, []
        for group in range(num_groups):
            sources = read(routing, num_groups, group)
            x = IMAGE if index == 0 else sum(left[-1][source] for source in sources)
            if index == 2:
                x = np.concatenate([x, sum(left[0][source] for source in sources)], axis=-1)
            now.append(masks[index][group] * convolved(layer, x))
        left.append(now)
    return [left[-1][task] + left[-1][-1] for task in range(num_groups - 1)]


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_masks_are_the_last_factor_and_streams_are_sums(routing, num_tasks):
    """With masks that are the probabilities themselves, which are no zeros and ones."""
    trunk = build(SFG(routing=routing, initial_probabilities="dirichlet"), num_tasks=num_tasks)
    masks = [p.T for p in trunk.grouping_probabilities().values()]
    found = outputs(trunk, temperature=ONE, source=MEAN)
    expected = masked(trunk, routing, masks, num_tasks + 1)
    assert len(found) == num_tasks
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_most_probable_groups_are_masks_of_ones_and_zeros_and_groups_of_their_own():
    trunk = build(SFG(initial_probabilities="dirichlet"))
    groups = trunk.most_probable_groups()
    assert groups == [p.argmax(axis=1).tolist() for p in trunk.grouping_probabilities().values()]
    masks = [np.eye(3)[found].T for found in groups]
    found = outputs(trunk, temperature=ONE, source=MODE)
    for one, other in zip(found, masked(trunk, "mixed", masks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_features_of_filters_are_those_of_the_stream_of_their_group():
    """Summed over the masked streams of their layer: of every filter its own group's answer remains."""
    trunk = build(SFG(initial_probabilities="dirichlet"))
    features = trunk.filter_features(IMAGE, ONE, MODE)
    assert list(features) == ["sfg_1", "sfg_2", "sfg_3"]
    groups, first = trunk.most_probable_groups(), trunk.convolutions[0].convolution
    np.testing.assert_allclose(features["sfg_1"], convolved(first, IMAGE), rtol=1e-4, atol=1e-5)
    one = np.asarray(features["sfg_1"])
    second = np.zeros((*IMAGE.shape[:3], 4))
    for group in range(3):
        support = np.isin(groups[0], (group, 2))
        second += (np.array(groups[1]) == group) * convolved(trunk.convolutions[1].convolution, one * support)
    np.testing.assert_allclose(features["sfg_2"], second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_task_has_no_gradient_in_filters_of_another_one(routing):
    """Section 4: with masks of ones and zeros `d L_2 / d` of kernels of task 1 is exactly 0, and the reverse."""
    trunk = build(SFG(routing=routing))
    groups = [[0, 1, 2, 0, 1], [0, 1, 2, 2], [0, 0, 1, 1, 2, 2]]
    for grouping, found in zip(trunk.groupings().values(), groups, strict=True):
        grouping.grouping_logits.assign(np.where(np.eye(3)[found] == 1, 9.0, -99.0))
    last = trunk.convolutions[-1].convolution.kernel
    with tf.GradientTape(persistent=True) as tape:
        found = trunk(IMAGE, temperature=ONE, source=MODE, training=False)
        losses = [tf.reduce_sum(head**2) for head in found]
    for task, loss in enumerate(losses):
        gradient = np.abs(tape.gradient(loss, last.value)).sum(axis=(0, 1, 2))
        reached = gradient > 0
        assert not reached[np.array(groups[-1]) == 1 - task].any()
        assert reached[np.array(groups[-1]) == task].any()


def test_stages_per_task_read_the_own_stream_and_the_shared_one_and_have_no_masks():
    stages = (stage(4, "one"), stage(2, "own", per_task=True), stage(3, "last", per_task=True))
    trunk = build(SFG(initial_probabilities="dirichlet"), stages)
    masks = trunk.grouping_probabilities()["sfg_1"].T
    features = convolved(trunk.convolutions[0].convolution, IMAGE)
    found = outputs(trunk, temperature=ONE, source=MEAN)
    for task in (0, 1):
        x = (masks[task] + masks[2]) * features
        for index in (1, 2):
            x = convolved(trunk.own.convolutions[f"{index}_{task}"], x)
        np.testing.assert_allclose(found[task], x, rtol=1e-4, atol=1e-5)


def test_cross_stitch_mixes_what_convolutions_leave_and_a_skip_brings_mixtures():
    """`y_a = sum_b alpha_ab x_b`, behind the activation; for three tasks, with a matrix in no way symmetric."""
    stages = (stage(6, "one"), stage(3, "two"), stage(9, "three", skip="one"))
    trunk = build(CrossStitch(), stages, num_tasks=3)
    rng = np.random.default_rng(1)
    for unit in trunk.units:
        unit.alpha.assign(rng.normal(size=(3, 3)))
    left = [[IMAGE] * 3]
    for index in range(3):
        reads = (
            left[-1] if index < 2 else [np.concatenate(each, axis=-1) for each in zip(left[2], left[1], strict=True)]
        )
        own = [convolved(trunk.convolutions[f"{index}_{task}"], x) for task, x in enumerate(reads)]
        left.append(list(np.einsum("ab,b...->a...", np.asarray(trunk.units[index].alpha), own)))
    for found, expected in zip(outputs(trunk), left[-1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beta", [True, False])
def test_sluice_networks_mix_subspaces_and_heads_read_layers(beta):
    """`y_ai = sum_bj alpha_ai,bj x_bj`; a head reads `sum_k beta_k P_k h_k`, with projections of other widths."""
    stages = (stage(4, "one"), stage(8, "two"), stage(8, "three"))
    trunk = build(Sluice(beta=beta), stages)
    rng = np.random.default_rng(1)
    for unit in trunk.units:
        unit.alpha.assign(rng.normal(size=(4, 4)))
    for mixture in trunk.mixtures:
        mixture.beta.assign(rng.normal(size=3))
    left = [[IMAGE] * 2]
    for index in range(3):
        own = [convolved(trunk.convolutions[f"{index}_{task}"], left[-1][task]) for task in (0, 1)]
        halves = [half for features in own for half in np.split(features, 2, axis=-1)]
        mixed = np.einsum("ab,b...->a...", np.asarray(trunk.units[index].alpha), halves)
        left.append([np.concatenate(mixed[2 * task : 2 * task + 2], axis=-1) for task in (0, 1)])
    found = outputs(trunk)
    assert len(trunk.mixtures) == 2 * beta
    for task in (0, 1):
        expected = left[3][task]
        if beta:
            weights = np.asarray(trunk.mixtures[task].beta)
            projections = trunk.mixtures[task].projections
            assert [each is None for each in projections] == [False, True]
            narrow = left[1][task] @ np.asarray(projections[0].kernel)[0, 0]
            expected = weights[0] * narrow + weights[1] * left[2][task] + weights[2] * left[3][task]
        np.testing.assert_allclose(found[task], expected, rtol=1e-4, atol=1e-4)


def test_a_tree_sends_every_task_along_its_branches():
    """a and c go together behind the first stage, b alone; at the last one all have parted."""
    stages = (stage(6, "one"), stage(6, "two"), stage(6, "three", skip="one"))
    trunk = build(Tree("two: a, c | b > three"), stages, num_tasks=3)
    one = convolved(trunk.convolutions["0_0"], IMAGE)
    two = {task: convolved(trunk.convolutions[f"1_{branch}"], one) for task, branch in ((0, 0), (1, 1), (2, 0))}
    assert [two[task].shape[-1] for task in range(3)] == [4, 2, 4]
    assert set(trunk.convolutions) == {"0_0", "1_0", "1_1", "2_0", "2_1", "2_2"}
    for task, found in enumerate(outputs(trunk)):
        x = np.concatenate([two[task], one], axis=-1)
        np.testing.assert_allclose(found, convolved(trunk.convolutions[f"2_{task}"], x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sharing", "place"),
    [(HardSharing(), 2), (SingleTask(), None), (SoftSharing(), None), (FullyAdaptive(start_width=1.0), 0)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_towers_and_trunks_are_chains_of_one_place(sharing, place):
    """Shared, every task goes through the one place; alone, through its own."""
    trunk = build(sharing, SKIPPED[:2] + (stage(6, "three"),))
    for task, found in enumerate(outputs(trunk)):
        x = IMAGE
        for index in range(3):
            x = convolved(trunk.convolutions[f"{index}_{task if place is None else place}"], x)
        np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)


def test_deep_relationship_networks_share_all_but_their_last_stages():
    trunk = build(DeepRelationship(task_layers=2), (stage(4, "one"), stage(4, "two"), stage(4, "three")))
    one = convolved(trunk.convolutions["0_2"], IMAGE)
    for task, found in enumerate(outputs(trunk)):
        x = convolved(trunk.convolutions[f"1_{task}"], one)
        assert x.shape[-1] == 2  # an equal part of the filters
        np.testing.assert_allclose(found, convolved(trunk.convolutions[f"2_{task}"], x), rtol=1e-4, atol=1e-5)


POOLED = (
    stage(4, "down", pools=True),
    stage(4, "bottom", pools=True),
    stage(4, "up", reads="bottom", upsamples=True, skip="down"),
)
MECHANISMS = [
    SFG(), SFG(routing="separate"), SFG(routing="dense"), ConstantP(), ConstantMask(fractions=(0.25, 0.25, 0.5)),
    ConstantMask(routing="dense"), HardSharing(), SingleTask(), CrossStitch(), Sluice(), SoftSharing(), Tree(),
    FullyAdaptive(), DeepRelationship(),
]  # fmt: skip


@pytest.mark.parametrize("sharing", MECHANISMS, ids=lambda each: f"{each.name}-{getattr(each, 'routing', '')}")
def test_shapes_that_a_trunk_foretells_are_those_of_what_it_gives(sharing):
    """Of heads on any stage, and of further heads in training, at sizes that cannot be halved."""
    settings = LayerSettings(2, 2, activation="relu", seeds=np.random.default_rng(0), task_names=["a", "b"])
    architecture = build_architecture(POOLED, 1.0, [None, "bottom"])
    trunk = sharing.build_trunk(architecture, settings)
    trunk.build((None, 5, 3, 1))
    found = trunk(np.ones((2, 5, 3, 1), "float32"), temperature=ONE, source=MODE, training=True)
    foretold = trunk.output_shapes((2, 5, 3, 1))
    assert [tuple(each.shape) for each in found] == foretold
    assert [shape[:3] for shape in foretold] == [(2, 5, 3), (2, 2, 1)]
    for index in range(3):
        assert set(trunk.readers(index)) >= set(trunk.kept_groups(index))


def test_heads_in_training_read_their_own_stages():
    deep = (
        stage(4, "down", pools=True),
        stage(4, "low", pools=True),
        stage(4, "bottom"),
        stage(4, "up_2", upsamples=True, skip="low"),
        stage(4, "up_1", upsamples=True, skip="down"),
    )
    architecture = build_architecture(deep, 1.0, [None, None], supervised=(1, 1))
    assert architecture.supervised == ((0, 3), (1, 3))
    for sharing, routing in ((SFG, "mixed"), (SFG, "separate"), (ConstantMask, "dense")):
        settings = LayerSettings(2, 2, activation="relu", seeds=np.random.default_rng(0), task_names=["a", "b"])
        trunk = sharing(routing=routing).build_trunk(architecture, settings)
        trunk.build((None, 8, 8, 1))
        images = np.ones((1, 8, 8, 1), "float32")
        trained, used = (trunk(images, temperature=ONE, source=MODE, training=each) for each in (True, False))
        assert (len(trained), len(used)) == (4, 2)
        assert [tuple(each.shape) for each in trained[2:]] == trunk.supervised_shapes((1, 8, 8, 1))
        assert trained[2].shape[1:3] == (4, 4)


def test_a_mechanism_that_knows_nothing_of_turns_or_errors_says_so():
    trunk = build(HardSharing())
    assert (trunk.takes_turns, trunk.turn(3), trunk.turn_factors(), trunk.records_errors) == (False, None, None, False)
    assert (trunk.penalties(), trunk.waiting_weights(), trunk.restored(), trunk.form) == ([], [], False, ())
    assert trunk.learned() == trunk.groupings() == {}
    with pytest.raises(NotImplementedError, match="GroupedTrunk takes no turns"):
        trunk.used_by(0)


def test_seeds_decide_what_a_trunk_begins_with():
    def first_kernel(seed):
        settings = LayerSettings(2, 2, seeds=np.random.default_rng(seed), task_names=["a", "b"])
        trunk = HardSharing().build_trunk(build_architecture(SKIPPED, 1.0, [None] * 2), settings)
        trunk.build((None, 3, 2, 3))
        return np.asarray(trunk.convolutions["0_2"].kernel)

    np.testing.assert_array_equal(first_kernel(1), first_kernel(1))
    assert np.abs(first_kernel(1) - first_kernel(2)).max() > 1e-3


def test_a_given_allocation_draws_no_seed_and_one_by_fractions_does():
    """Kernels of a given allocation begin as in earlier versions: those of hard sharing, where all is shared."""
    kernels = {}
    everything = [[2] * each.filters for each in SKIPPED]
    for name, sharing in {
        "hard": HardSharing(),
        "given": ConstantMask(allocation=everything),
        "drawn": ConstantMask(fractions=(0.0, 0.0, 1.0)),
    }.items():
        settings = LayerSettings(2, 2, seeds=np.random.default_rng(0), task_names=["a", "b"])
        trunk = sharing.build_trunk(build_architecture(SKIPPED, 1.0, [None] * 2), settings)
        trunk.build((None, 3, 2, 3))
        kernels[name] = np.asarray(trunk.convolutions["0_2"].kernel)
    np.testing.assert_array_equal(kernels["given"], kernels["hard"])
    assert np.abs(kernels["drawn"] - kernels["hard"]).max() > 1e-3


def alphas(trunk):
    return [np.asarray(unit.alpha) for unit in trunk.units]


def test_settings_of_units_are_what_they_begin_with():
    stages = (stage(4, "one"), stage(8, "two"))
    for found in alphas(build(CrossStitch(weight=0.7), stages)):
        np.testing.assert_allclose(found, [[0.7, 0.3], [0.3, 0.7]], rtol=1e-6)
    assert [each.shape for each in alphas(build(CrossStitch(per_channel=True), stages))] == [(2, 2, 2), (2, 2, 4)]
    sluice = build(Sluice(weight=0.7), stages)
    np.testing.assert_allclose(np.diag(alphas(sluice)[0]), 0.7, rtol=1e-6)
    for mixture in sluice.mixtures:
        np.testing.assert_allclose(mixture.beta, [0.3, 0.7], rtol=1e-6)
    uniform = build(Sluice(initialisation="uniform", subspaces=4), (stage(8, "one"), stage(8, "two")))
    np.testing.assert_allclose(alphas(uniform)[0], np.full((8, 8), 1 / 8), rtol=1e-6)
    np.testing.assert_allclose(uniform.mixtures[0].beta, [0.5, 0.5], rtol=1e-6)


def test_penalties_of_mechanisms_are_their_weights_times_what_they_are_of():
    """Squares of all cross-stitch weights; products of filters of different subspaces; distances of kernels."""
    stages = (stage(4, "one"), stage(8, "two"))
    stitched = build(CrossStitch(decay=0.5), stages)
    assert float(sum(stitched.losses)) == pytest.approx(
        0.5 * sum((each**2).sum() for each in alphas(stitched)), rel=1e-5
    )
    assert build(CrossStitch(), stages).losses == []

    def kernels(trunk):
        return {key: np.asarray(layer.kernel)[0, 0] for key, layer in trunk.convolutions.items()}

    sluice = build(Sluice(orthogonality=0.25), stages)
    halves = [np.split(kernel, 2, axis=-1) for kernel in kernels(sluice).values()]
    overlap = sum(((one.T @ other) ** 2).sum() for one, other in halves)
    assert float(sum(sluice.losses)) == pytest.approx(0.25 * overlap, rel=1e-4)
    assert build(Sluice(orthogonality=0.0), stages).losses == build(Sluice(subspaces=1), stages).losses == []

    soft = build(SoftSharing(strength=0.1, layers=("two",)), stages)
    own = kernels(soft)
    distance = ((own["1_0"] - own["1_1"]) ** 2).sum()
    assert float(sum(soft.losses)) == pytest.approx(0.1 * distance, rel=1e-4)
    absolute = build(SoftSharing(strength=0.1, distance="absolute"), stages)
    own = kernels(absolute)
    distance = sum(np.abs(own[f"{index}_0"] - own[f"{index}_1"]).sum() for index in (0, 1))
    assert float(sum(absolute.losses)) == pytest.approx(0.1 * distance, rel=1e-4)


@pytest.mark.parametrize("mask_residual", [True, False])
@pytest.mark.parametrize("routing", ["mixed", "separate"])
def test_blocks_stay_within_the_channels_of_their_stream_if_they_are_masked(routing, mask_residual):
    """A task's stream has its own filters and the shared ones; a block that is not masked writes into all."""
    stages = (stage(6, "one", num_blocks=1),)
    trunk = build(SFG(routing=routing, mask_residual=mask_residual), stages)
    groups = np.array([0, 1, 2, 2, 1, 0])
    trunk.convolutions[0].grouping.grouping_logits.assign(np.where(np.eye(3)[groups] == 1, 9.0, -99.0))
    for task, found in enumerate(outputs(trunk, temperature=ONE, source=MODE)):
        is_empty = np.abs(found).max(axis=(0, 1, 2)) == 0
        outside = groups == 1 - task
        assert not is_empty[~outside].any()
        assert is_empty[outside].all() == mask_residual


@pytest.mark.parametrize(
    "sharing", [SFG(entropy_decay=0.5), SFG(entropy_decay=0.0), ConstantP()], ids=["0.5", "0", "p"]
)
def test_the_entropy_of_probabilities_that_are_learned_is_taken_off_the_loss(sharing):
    """`- lambda_2 sum_l sum_k H(p_lk)`; nothing of probabilities that are not trained."""
    trunk = build(sharing, (stage(4, "one"), stage(2, "two")))
    p = np.concatenate(list(trunk.grouping_probabilities().values()))
    expected = sharing.entropy_decay * (p * np.log(p)).sum() if sharing.learn_grouping else 0.0
    assert float(sum(trunk.losses)) == pytest.approx(expected, rel=1e-5)


def test_settings_of_filter_groups_reach_every_layer():
    sharing = SFG(
        assignment="hard", per_sample=True, noise=False, learn_grouping=False, initial_probabilities="vertices"
    )
    trunk = build(sharing, (stage(4, "one"), stage(2, "two")))
    for grouping in trunk.groupings().values():
        assert (grouping.assignment, grouping.per_sample, grouping.noise) == ("hard", True, False)
        assert not grouping.grouping_logits.trainable
        np.testing.assert_allclose(np.asarray(grouping.probabilities()).max(axis=1), 0.9, rtol=1e-5)


def test_groups_may_be_asked_for_in_multiples():
    trunk = build(SFG(initial_probabilities="dirichlet"), (stage(8, "one"), stage(6, "two")))
    eights, sixes = (np.bincount(groups, minlength=3) for groups in trunk.most_probable_groups(2))
    assert (eights % 2 == 0).all()
    assert (sixes % 2 == 0).all()
    assert (eights.sum(), sixes.sum()) == (8, 6)


@pytest.mark.parametrize("mask_residual", [True, False])
def test_groups_that_are_fixed_leave_blocks_that_are_not_masked_with_all_channels(mask_residual):
    """Those of the stream first; the others begin as zeros, and the block alone writes into them."""
    allocation = [[0, 1, 2, 2, 1, 0]]
    stages = (stage(6, "one", num_blocks=1),)
    trunk = build(ConstantMask(allocation=allocation, mask_residual=mask_residual), stages)
    for task, found in enumerate(outputs(trunk)):
        own, shared = (convolved(trunk.convolutions[f"0_{group}"], IMAGE) for group in (task, 2))
        stream = np.concatenate([own, shared], axis=-1)
        if not mask_residual:
            stream = np.pad(stream, [(0, 0)] * 3 + [(0, 2)])
        assert found.shape[-1] == stream.shape[-1]
        (block,) = trunk.sections[f"0_{task}"].blocks
        for convolution in block.convolutions:
            assert convolution.kernel.shape == (1, 1, stream.shape[-1], stream.shape[-1])
        inner = relu(stream) @ np.asarray(block.convolutions[0].kernel)[0, 0] + np.asarray(block.convolutions[0].bias)
        outer = relu(inner) @ np.asarray(block.convolutions[1].kernel)[0, 0] + np.asarray(block.convolutions[1].bias)
        np.testing.assert_allclose(found, stream + outer, rtol=1e-4, atol=1e-4)
