"""Networks with drawn masks: outputs, objective, masks, seeds, state, and what must be exactly zero."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from sfgkeras.networks import (
    MGCN,
    NETWORKS,
    SHARING,
    VGG11,
    HighResNet,
    HyperFace,
    PlayoutNet,
    QinNet,
    UNet,
    YNet,
)

TASKS = {"ct": 1, "organs": 3}


@pytest.mark.parametrize(
    ("sharing", "rank", "num_tasks"),
    [(sharing, 2, 2) for sharing in SHARING] + [("sfg", 3, 2), ("sfg", 2, 1), ("sfg", 2, 5), ("single_task", 3, 5)],
)
def test_highresnet_keeps_the_size_and_answers_by_task_name(sharing, rank, num_tasks, images):
    tasks = {f"task {index}": index + 1 for index in range(num_tasks)}
    network = HighResNet(tasks, sharing, spatial_rank=rank, width=0.32, seed=0)
    outputs = network(images(size=6, rank=rank), training=True)
    assert list(outputs) == list(tasks)
    for name, channels in tasks.items():
        assert outputs[name].shape == (3, *(6,) * rank, channels)
        assert outputs[name].dtype == "float32"
        assert np.isfinite(outputs[name]).all()


@pytest.mark.parametrize(("rank", "size"), [(2, 33), (3, 5)])
def test_vgg_answers_with_one_vector_per_task_for_any_size(rank, size, images):
    network = VGG11({"age": 1, "gender": 2, "race": 5}, spatial_rank=rank, width=0.05, seed=0)
    outputs = network(images(size=size, rank=rank, channels=3))
    assert {name: output.shape for name, output in outputs.items()} == {
        "age": (3, 1),
        "gender": (3, 2),
        "race": (3, 5),
    }


def test_layers_have_the_filters_of_the_paper():
    high = HighResNet(TASKS, seed=0).grouping_probabilities()
    assert [p.shape for p in high.values()] == [(k, 3) for k in (16, 32, 64, 64, 64)]
    vgg = VGG11(TASKS, seed=0).grouping_probabilities()
    assert [len(p) for p in vgg.values()] == [64, 128, 256, 256, 512, 512, 512, 512]
    np.testing.assert_allclose(vgg["sfg_8"][0], [0.2, 0.2, 0.6], atol=1e-6)


def test_width_scales_all_layers_and_leaves_at_least_one_filter():
    half = HighResNet(TASKS, width=0.5, seed=0).grouping_probabilities()
    assert [len(p) for p in half.values()] == [8, 16, 32, 32, 32]
    tiny = HighResNet(TASKS, width=0.01, seed=0).grouping_probabilities()
    assert [len(p) for p in tiny.values()] == [1, 1, 1, 1, 1]


def test_three_streams_cost_less_than_three_networks_because_the_image_is_convolved_once():
    from sfgkeras.networks import count_multiplies

    single, sfg = (HighResNet(TASKS, sharing, seed=0) for sharing in ("hard_sharing", "sfg"))
    ratio = count_multiplies(sfg, (32, 32, 1)) / count_multiplies(single, (32, 32, 1))
    assert 2.9 < ratio < 3.0


@pytest.mark.parametrize("routing", ["mixed", "separate"])
@pytest.mark.parametrize("training", [False, True])
def test_no_gradient_of_one_task_reaches_anything_of_the_other(training, routing, scramble, images, small_network):
    network = small_network(TASKS, seed=0, masks="mode", assignment="hard", routing=routing)
    network(images())
    scramble(network)
    weights = network.trainable_variables
    values = [weight.value for weight in weights]
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(images(), training=training)
        losses = [tf.reduce_sum(outputs[name] ** 2) for name in TASKS]
    groups = [p.argmax(-1) for p in network.grouping_probabilities().values()]
    for task in (0, 1):
        gradients = dict(
            zip(
                (weight.path for weight in weights),
                tape.gradient(losses[1 - task], values, unconnected_gradients=tf.UnconnectedGradients.ZERO),
                strict=True,
            )
        )
        stream = {path: g for path, g in gradients.items() if f"task_{task + 1}" in path}
        assert len(stream) == 3 * 3 + 8
        assert all((np.asarray(gradient) == 0).all() for gradient in stream.values())
        for index, group in enumerate(groups):
            (kernel,) = (g for path, g in gradients.items() if f"sfg_{index + 1}/convolution/kernel" in path)
            assert (np.asarray(kernel)[..., group == task] == 0).all()
            assert (np.asarray(kernel)[..., group == 1 - task] != 0).any()


@pytest.mark.parametrize("training", [False, True])
def test_no_stream_between_layers_ever_leaves_its_support(training, scramble, images, small_network):
    network = small_network(TASKS, seed=0, masks="mode", assignment="hard")
    x = images()
    network(x)
    scramble(network)
    trunk = network.trunk
    groups = [p.argmax(-1) for p in network.grouping_probabilities().values()]
    streams = x
    for index, convolution in enumerate(trunk.convolutions):
        masks = convolution.draw_masks(tf.constant(0.5), 2, 3, training)
        features = convolution(streams, filter_masks=masks, training=training)
        streams = list(trunk._pass_on(index, features, masks, training).values())
        for task in (0, 1):
            outside = groups[index] == 1 - task
            assert (np.asarray(streams[task])[..., outside] == 0).all()
            assert (np.asarray(streams[task])[..., ~outside] != 0).any()


@pytest.mark.parametrize("decay_type", ["l2", "l1"])
def test_the_objective_is_a_sum_over_kernels_and_entropies(decay_type, images, small_network):
    network = small_network(
        TASKS,
        seed=0,
        initial_probabilities="dirichlet",
        kernel_regularizer={"l2": keras.regularizers.L2, "l1": keras.regularizers.L1}[decay_type](0.5),
        entropy_decay=0.25,
    )
    network(images())
    kernels = [w.numpy() for w in network.trainable_variables if w.path.endswith("kernel")]
    assert len(kernels) == 3 + 3 * 2 + 2
    norms = [np.square(k).sum() if decay_type == "l2" else np.abs(k).sum() for k in kernels]
    entropies = [scipy.stats.entropy(p, axis=-1).sum() for p in network.grouping_probabilities().values()]
    expected = 0.5 * sum(norms) - 0.25 * sum(entropies)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-5)


def test_the_objective_of_a_fit_is_the_weighted_task_losses_and_the_regularisation(images, small_network):
    network = small_network(TASKS, seed=0, kernel_regularizer=keras.regularizers.L2(0.1), entropy_decay=0.1)
    x = images()
    network(x)
    network.compile(
        loss={"ct": "mse", "organs": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        loss_weights={"ct": 2.0, "organs": 3.0},
    )
    network.masks = "mean"
    y = {"ct": x, "organs": np.zeros((3, 10, 10), "int32")}
    outputs = network(x)
    ce = -np.log(tf.nn.softmax(outputs["organs"])[..., 0]).mean()
    mse = np.square(np.asarray(outputs["ct"]) - x).mean()
    expected = 2 * mse + 3 * ce + float(sum(network.losses))
    assert network.evaluate(x, y, verbose=0)[0] == pytest.approx(expected, rel=1e-4)


def test_fixed_probabilities_are_uniform_untrained_and_earn_no_entropy(images, small_network):
    network = small_network(TASKS, "constant_p", seed=0)
    network(images())
    np.testing.assert_allclose(network.grouping_probabilities()["sfg_3"], 1 / 3, atol=1e-6)
    assert not [v for v in network.trainable_variables if "logits" in v.path]
    assert not (network(images(), training=True)["ct"] == network(images(), training=True)["ct"]).numpy().all()


def test_masks_can_be_changed_after_predict_has_been_compiled(images, small_network):
    network = small_network(TASKS, seed=0, masks="sample", initial_probabilities="vertices")
    x = images()
    predict = tf.function(lambda batch: network(batch, training=False)["ct"])
    assert (network.predict(x, verbose=0)["ct"] != network.predict(x, verbose=0)["ct"]).any()
    results = {}
    for masks in ("mode", "mean", "auto"):
        network.masks = masks
        results[masks] = network.predict(x, verbose=0)["ct"]
        np.testing.assert_array_equal(network.predict(x, verbose=0)["ct"], results[masks])
        np.testing.assert_allclose(predict(x), results[masks], rtol=1e-3, atol=1e-4)
    assert np.abs(results["mode"] - results["mean"]).max() > 1e-3


def test_batch_norm_can_be_changed_after_predict_has_been_compiled(images, small_network):
    network = small_network(TASKS, seed=0, masks="mode")
    x = images()
    population = network.predict(x, verbose=0)["ct"]
    network.batch_norm = "batch"
    batch = network.predict(x, verbose=0)["ct"]
    assert np.abs(batch - population).max() > 1e-3
    network.batch_norm = "population"
    np.testing.assert_array_equal(network.predict(x, verbose=0)["ct"], population)


def test_one_trace_serves_all_temperatures(images, small_network):
    network = small_network(TASKS, seed=0, temperature=(1.0, 0.5, 0.01))
    network.build((None, 10, 10, 1))
    traces = []

    @tf.function
    def step(x):
        traces.append(1)
        return network(x, training=True)["ct"], network.temperature

    x = tf.constant(images())
    temperatures = [float(step(x)[1]) for _ in range(4)]
    np.testing.assert_allclose(temperatures, np.exp(-0.5 * np.arange(1, 5)), rtol=1e-5)
    assert len(traces) == 1
    assert int(network.iteration) == 4


def test_iterations_are_counted_in_training_only_and_only_if_wanted(images, small_network):
    network = small_network(TASKS, seed=0)
    network(images())
    network(images(), training=True)
    assert int(network.iteration) == 1
    network.counts_iterations = False
    network(images(), training=True)
    assert int(network.iteration) == 1
    network.iteration.assign(200_000)
    assert float(network.temperature) == pytest.approx(0.135335, abs=1e-6)


def train_some(network_class, x, seed):
    network = network_class(TASKS, seed=seed, dropout=0.2)
    network(x)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = network(x, training=True)
            total = sum(tf.reduce_mean(output**2) for output in outputs.values()) + sum(network.losses)
        gradients = tape.gradient(total, network.trainable_variables)
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
            variable.assign(variable - 0.1 * gradient)

    for _ in range(20):
        step()
    return [weight.numpy() for weight in network.weights]


def test_one_seed_repeats_the_training_bit_for_bit_and_another_does_not(images, small_network):
    x = tf.constant(images())
    first, again, other = (train_some(small_network, x, seed) for seed in (11, 11, 12))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


def test_no_two_kernels_start_from_the_same_draw(images, small_network):
    network = small_network(TASKS, seed=0)
    network(images())
    starts = [w.numpy().ravel()[:6] for w in network.trainable_variables if w.path.endswith("kernel")]
    scaled = {tuple(np.round(start / np.abs(start).max(), 3)) for start in starts}
    assert len(scaled) == len(starts) == 11


@pytest.mark.parametrize("sharing", list(SHARING))
def test_a_saved_network_loads_in_safe_mode_with_outputs_choices_and_draws(sharing, tmp_path, images, small_network):
    network = small_network(TASKS, sharing, seed=3, dropout=0.1, batch_norm="population", activation="relu")
    x = images()
    for _ in range(2):
        network(x, training=True)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    assert again.get_config() == network.get_config()
    assert int(again.iteration) == 2
    for _ in range(2):
        np.testing.assert_array_equal(again(x)["organs"], network(x)["organs"])
    np.testing.assert_array_equal(
        again.groupings()["sfg_2"](temperature=0.5, training=True) if network.groupings() else 0,
        network.groupings()["sfg_2"](temperature=0.5, training=True) if network.groupings() else 0,
    )


def test_a_random_state_restores_masks_and_dropout_of_training(images, small_network):
    network = small_network(TASKS, seed=3, dropout=0.3)
    x = images()
    network(x, training=True)
    network.counts_iterations = False
    state = network.random_state()
    expected = network(x, training=True)["ct"]
    network.set_random_state(state)
    np.testing.assert_array_equal(network(x, training=True)["ct"], expected)
    with pytest.raises(ValueError, match="random state of another network"):
        network.set_random_state({"sfg_1/training": state["sfg_1/training"]})


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_float32_grouping_variables_and_logits(policy, images, small_network):
    network = small_network(TASKS, seed=0, dtype=policy)
    x = images()
    with tf.GradientTape() as tape:
        outputs = network(x, training=True)
        total = sum(tf.reduce_mean(output**2) for output in outputs.values()) + sum(network.losses)
    gradients = tape.gradient(total, network.trainable_variables)
    assert {w.dtype for w in network.trainable_variables} == {"float32"}
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert {output.dtype.name for output in outputs.values()} == {"float32"}
    assert {loss.dtype.name for loss in network.losses} == {"float32"}
    assert network.trunk.convolutions[0].compute_dtype == policy.removeprefix("mixed_")
    full = small_network(TASKS, seed=0)(x, training=True)
    np.testing.assert_allclose(outputs["ct"], full["ct"], atol=0.15 * np.abs(full["ct"]).max())


@pytest.mark.parametrize("options", [{"per_sample": True}, {"assignment": "hard"}, {"routing": "dense"}])
def test_every_variant_of_masks_and_routing_trains(options, images, small_network):
    network = small_network(TASKS, seed=0, **options)
    network(images())
    # Streams that start alike would sum to the same features under dense routing, whatever the masks.
    for index, layer in enumerate(network.normalizations()):
        layer.gamma.assign(layer.gamma + 0.1 * index)
    with tf.GradientTape() as tape:
        outputs = network(images(), training=True)
        total = sum(tf.reduce_mean(output**2) for output in outputs.values())
    gradients = tape.gradient(total, network.trainable_variables)
    missing = [
        w.path for w, g in zip(network.trainable_variables, gradients, strict=True) if g is None or not np.any(g)
    ]
    # A hard draw may leave a group empty, and then nothing reads its stream's blocks.
    assert not [path for path in missing if "logits" in path or "sfg" in path and "kernel" in path]


def test_the_relaxed_gradient_of_a_whole_network_equals_finite_differences(images, small_network):
    network = small_network({"a": 1}, seed=0, kernel_regularizer=None, entropy_decay=0.0)
    x = images(size=6)
    network(x)
    state = network.random_state()
    network.counts_iterations = False
    logits = network.groupings()["sfg_2"].grouping_logits

    def value():
        network.set_random_state(state)
        return tf.reduce_mean(network(x, training=True)["a"] ** 2)

    with tf.GradientTape() as tape:
        total = value()
    gradient = tape.gradient(total, logits.value).numpy()
    start, step = logits.numpy(), 0.02
    for index in np.ndindex(start.shape):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            logits.assign(moved)
            ends.append(float(value()))
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05, abs=2e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": {}}, "tasks is empty"),
        ({"tasks": {"ct": 0}}, "task 'ct' has 0 output channels"),
        ({"sharing": "sgf"}, "unknown sharing mechanism 'sgf', did you mean 'sfg'"),
        ({"spatial_rank": 4}, "spatial_rank = 4"),
        ({"width": 0}, "width = 0"),
        ({"masks": "max"}, "unknown mask source 'max'"),
        ({"batch_norm": "none"}, "unknown normalisation statistics 'none'"),
        ({"routing": "all"}, "routing = .all. is not known"),
        ({"heads": {"ct": "box"}}, "unknown kind of head 'box'"),
    ],
)
def test_impossible_arguments_are_refused_with_their_value(arguments, message, small_network):
    with pytest.raises(ValueError, match=message):
        small_network(**({"tasks": TASKS} | arguments))


def test_images_of_another_rank_are_refused(images, small_network):
    with pytest.raises(ValueError, match="spatial_rank = 2 it needs"):
        small_network(TASKS)(images(size=4, rank=3))


def test_a_map_from_a_network_that_pools_is_refused_and_a_vector_from_highresnet_is_not(images):
    with pytest.raises(ValueError, match="task 'ct' wants a map, but VGG11 pools"):
        VGG11(TASKS, width=0.1, heads={"ct": "map"})
    network = HighResNet(TASKS, width=0.1, heads={"organs": "vector"}, seed=0)
    assert network(images())["organs"].shape == (3, 3)


def test_the_table_of_networks_holds_all_of_them():
    assert dict(NETWORKS) == {
        "highresnet": HighResNet,
        "vgg11": VGG11,
        "unet": UNet,
        "playout": PlayoutNet,
        "qin": QinNet,
        "ynet": YNet,
        "mgcn": MGCN,
        "hyperface": HyperFace,
    }
