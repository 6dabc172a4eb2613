"""The SFG convolution: its formula, what must be exactly zero, and what must never be NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers import SFGConv2D, SFGConv3D

GROUP_SETS = [1, 2, 3]


def image(rank=2, batch=3, size=6, channels=2, seed=0):
    shape = (batch, *(size,) * rank, channels)
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def one_hot_masks(groups, num_groups):
    return tf.constant(np.eye(num_groups, dtype="float32")[:, groups])


def offset_everything(layer, seed=0):
    """Gives scale, offset, slope and bias of every stream values that no rounding hides."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        if variable.path.endswith(("beta", "bias", "alpha", "gamma")):
            variable.assign(rng.uniform(0.5, 1.5, size=variable.shape))


def numpy_stream(layer, group, features, mask):
    """m * h(conv(x) + b) by NumPy from a convolution of Keras' own."""
    convolved = keras.ops.convert_to_numpy(keras.ops.conv(features, layer.kernel, padding="same"))
    if layer.convolution.bias is not None:
        convolved = convolved + keras.ops.convert_to_numpy(layer.convolution.bias)
    axes = tuple(range(convolved.ndim - 1))
    unit = layer.activations[group]
    gamma, beta = (np.asarray(v) for v in (unit.normalization.gamma, unit.normalization.beta))
    normalised = (convolved - convolved.mean(axes)) / np.sqrt(convolved.var(axes) + 1e-3) * gamma + beta
    return mask * np.where(normalised > 0, normalised, np.asarray(unit.activation.alpha) * normalised)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize(("conv", "rank"), [(SFGConv2D, 2), (SFGConv3D, 3)])
def test_streams_follow_the_formula_of_the_paper(conv, rank, num_tasks, use_bias):
    layer = conv(5, num_tasks=num_tasks, use_bias=use_bias, seed=0)
    streams = [image(rank, channels=4, seed=s) for s in range(num_tasks + 1)]
    layer.build([stream.shape for stream in streams])
    offset_everything(layer)
    masks = np.random.default_rng(1).dirichlet(np.ones(num_tasks + 1), size=5).T.astype("float32")
    outputs = layer(streams, filter_masks=tf.constant(masks), training=True)
    for group in range(num_tasks + 1):
        merged = streams[group] if group == num_tasks else streams[group] + streams[-1]
        expected = numpy_stream(layer, group, merged, masks[group])
        np.testing.assert_allclose(outputs[group], expected, rtol=1e-4, atol=1e-4)


def test_the_first_layer_gives_every_group_the_image():
    layer = SFGConv2D(4, num_tasks=2, seed=0)
    picture = image()
    layer.build(picture.shape)
    offset_everything(layer)
    masks = np.full((3, 4), 1 / 3, "float32")
    outputs = layer(picture, filter_masks=tf.constant(masks), training=True)
    for group in range(3):
        np.testing.assert_allclose(
            outputs[group], numpy_stream(layer, group, picture, masks[group]), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("activation", ["prelu", "relu", "elu"])
@pytest.mark.parametrize("training", [False, True])
def test_channels_outside_their_group_are_exactly_zero_whatever_the_offsets(activation, training):
    groups = np.array([0, 1, 2, 0, 1, 2, 2, 2])
    layer = SFGConv2D(8, num_tasks=2, activation=activation, use_bias=True, seed=0)
    layer.build((None, None, None, 2))
    offset_everything(layer)
    outputs = layer(image(), filter_masks=one_hot_masks(groups, 3), training=training)
    for group, stream in enumerate(outputs):
        assert (np.asarray(stream)[..., groups != group] == 0).all()
        assert (np.asarray(stream)[..., groups == group] != 0).any()


@pytest.mark.parametrize("training", [False, True])
def test_no_gradient_of_one_task_reaches_a_kernel_of_the_other(training):
    groups = np.array([0, 0, 1, 1, 2, 2])
    layers = [SFGConv2D(6, num_tasks=2, use_bias=True, seed=s) for s in range(2)]
    picture, masks = image(), one_hot_masks(groups, 3)
    with tf.GradientTape(persistent=True) as tape:
        streams = layers[0](picture, filter_masks=masks, training=training)
        offset_everything(layers[0])
        streams = layers[1](streams, filter_masks=masks, training=training)
        losses = [tf.reduce_sum((streams[task] + streams[2]) ** 2) for task in (0, 1)]
    for layer in layers:
        for task in (0, 1):
            other = losses[1 - task]
            kernel = tape.gradient(other, layer.kernel.value).numpy()
            assert (kernel[..., groups == task] == 0).all()
            assert (kernel[..., groups == 2] != 0).any()
            bias = tape.gradient(other, layer.convolution.bias.value).numpy()
            assert (bias[groups == task] == 0).all()
            for variable in layer.activations[task].trainable_variables:
                gradient = tape.gradient(other, variable.value)
                assert gradient is None or (np.asarray(gradient) == 0).all(), variable.path
            own = tape.gradient(losses[task], layer.kernel.value).numpy()
            assert (own[..., groups == task] != 0).any()


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_ten_thousand_draws_with_empty_groups_give_no_nan(assignment):
    """Two filters in three groups: one group at least is empty in every hard draw, and nearly so at 0.1."""
    layer = SFGConv2D(2, num_tasks=2, assignment=assignment, per_sample=True, temperature=(0.1, 0.0, 0.1), seed=0)
    picture = image(batch=10_000, size=3, channels=1)
    with tf.GradientTape() as tape:
        streams = layer(picture, training=True)
        total = sum(tf.reduce_sum(stream**2) for stream in streams)
    assert all(np.isfinite(stream).all() for stream in streams)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(total, layer.trainable_variables), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.path
    if assignment == "hard":
        assert any((np.asarray(stream) == 0).all(axis=(1, 2, 3)).any() for stream in streams)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_hundreds_of_draws_per_layer_with_empty_groups_give_finite_gradients(assignment):
    layer = SFGConv2D(2, num_tasks=2, assignment=assignment, temperature=(0.1, 0.0, 0.1), seed=0)
    picture = image(size=4)
    layer.build(picture.shape)

    @tf.function
    def worst():
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_sum(stream**2) for stream in layer(picture, training=True))
        gradients = tape.gradient(total, layer.trainable_variables)
        return tf.reduce_sum(tf.stack([tf.reduce_sum(tf.abs(gradient)) for gradient in gradients]))

    assert np.isfinite([float(worst()) for _ in range(300)]).all()


def test_a_constant_channel_gives_its_offset_and_finite_gradients():
    layer = SFGConv2D(3, num_tasks=2, seed=0)
    black = tf.zeros((2, 5, 5, 1))
    masks = tf.fill((3, 3), 1 / 3)
    with tf.GradientTape() as tape:
        streams = layer(black, filter_masks=masks, training=True)
        total = sum(tf.reduce_sum(stream) for stream in streams)
    assert all((np.asarray(stream) == 0).all() for stream in streams)
    gradients = tape.gradient(total, layer.activations[0].trainable_variables + [layer.kernel])
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_routing_separate_merges_nothing_and_dense_merges_all():
    streams = [image(channels=4, seed=s) for s in range(3)]
    masks = tf.fill((3, 4), 1 / 3)
    outputs = {}
    for routing in ("mixed", "separate", "dense"):
        layer = SFGConv2D(4, num_tasks=2, routing=routing, seed=0, kernel_initializer="ones")
        outputs[routing] = [np.asarray(s) for s in layer(streams, filter_masks=masks, training=True)]
    layer = SFGConv2D(4, num_tasks=2, routing="separate", kernel_initializer="ones")
    merged = [streams[0] + streams[2], streams[1] + streams[2], streams[2]]
    mixed = layer(merged, filter_masks=masks, training=True)
    everything = layer([sum(streams)] * 3, filter_masks=masks, training=True)
    for group in range(3):
        np.testing.assert_allclose(outputs["mixed"][group], mixed[group], atol=1e-5)
        np.testing.assert_allclose(outputs["dense"][group], everything[group], atol=1e-5)
    assert np.abs(outputs["separate"][0] - outputs["mixed"][0]).max() > 0.01


def test_a_layer_on_its_own_counts_its_training_steps_and_cools():
    layer = SFGConv2D(4, num_tasks=2, temperature=(1.0, 0.5, 0.01), seed=0)
    for _ in range(6):
        layer(image(), training=True)
    layer(image(), training=False)
    assert int(layer.iteration) == 6


def test_masks_of_inference_can_be_chosen_for_a_layer_on_its_own():
    layer = SFGConv2D(16, num_tasks=2, initial_probabilities="vertices", masks="mode", seed=0)
    first, second = layer(image()), layer(image())
    np.testing.assert_array_equal(first[0], second[0])
    groups = np.asarray(layer.grouping.probabilities()).argmax(-1)
    assert (np.asarray(first[0])[..., groups != 0] == 0).all()


def test_a_functional_model_of_layers_trains_saves_and_loads(tmp_path):
    inputs = keras.Input((8, 8, 1))
    streams = SFGConv2D(4, num_tasks=2, seed=0)(inputs)
    streams = SFGConv2D(4, num_tasks=2, seed=1, masks="mode")(streams)
    outputs = keras.layers.Add()([streams[0], streams[2]])
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    picture = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    model.fit(picture, picture.repeat(4, -1), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(picture, verbose=0), model.predict(picture, verbose=0))


def test_mixed_precision_casts_the_masks_and_keeps_the_grouping_in_float32():
    layer = SFGConv2D(4, num_tasks=2, dtype="mixed_bfloat16", seed=0)
    streams = layer(image(), training=True)
    assert {stream.dtype.name for stream in streams} == {"bfloat16"}
    assert layer.grouping.grouping_logits.dtype == layer.kernel.dtype == "float32"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([image(), image()], "received 2 streams; it has 3 groups"),
        (image(rank=3), r"2 spatial axes"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        SFGConv2D(4, num_tasks=2)(inputs)


def test_a_layer_without_a_schedule_asks_for_its_masks():
    with pytest.raises(ValueError, match="pass filter_masks"):
        SFGConv2D(4, temperature=None)(image())


def test_layers_without_normalisation_have_a_bias_and_harden_with_dense_layers_behind(tmp_path):
    from sfgkeras.networks import harden

    inputs = keras.Input((None, None, 1))
    streams = SFGConv2D(6, num_tasks=2, seed=0, normalisation="none", bias_initializer="normal")(inputs)
    streams = SFGConv2D(5, num_tasks=2, seed=1, normalisation="none", bias_initializer="normal")(streams)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([streams[0], streams[2]]))
    dense = keras.layers.Dense(2)(keras.layers.Dense(4, activation="relu")(pooled))
    model = keras.Model(inputs, {"map": streams[1], "vector": dense})
    for layer in (each for each in model.layers if isinstance(each, SFGConv2D)):
        assert layer.convolution.bias is not None
        assert not any(variable.path.endswith(("gamma", "moving_mean")) for variable in layer.variables)
        corners = np.eye(3)[np.random.default_rng(layer.filters).integers(3, size=layer.filters)] == 1
        layer.grouping.grouping_logits.assign(np.where(corners, 5.0, -200.0))
    picture = np.random.default_rng(0).normal(size=(2, 7, 6, 1)).astype("float32")
    expected, hardened = model(picture), harden(model)(picture)
    for name, values in expected.items():
        np.testing.assert_allclose(hardened[name], values, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "model.keras")(picture)["vector"], expected["vector"]
    )
