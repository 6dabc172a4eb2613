"""Adam over two buffers: Keras' numbers bit for bit, its names, and the same on two devices."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.networks.flat_adam import FlatAdam
from sfgkeras.networks.moments import slots_of

SHAPES = ((3, 3, 2, 5), (5,), (), (7, 1), (1,))
SETTINGS = {"learning_rate": 0.02, "beta_1": 0.85, "beta_2": 0.98, "epsilon": 1e-5}


def make_variables(seed=0):
    numbers = np.random.default_rng(seed)
    return [
        keras.Variable(numbers.normal(size=shape).astype("float32"), name=f"v{place}")
        for place, shape in enumerate(SHAPES)
    ]


def gradients_of(step, shapes=SHAPES):
    numbers = np.random.default_rng([7, step])
    # Of very different sizes, so that each rounds in its own way.
    return [
        tf.constant(numbers.normal(scale=10.0 ** (place - 2), size=s), tf.float32) for place, s in enumerate(shapes)
    ]


def build(optimizer, variables):
    optimizer.build(variables)
    return optimizer


def take(optimizer, variables, steps, present=None):
    """Steps in a graph, as trainings take them; `present`: places of the variables that have a gradient."""

    @tf.function(autograph=False)
    def step(*gradients):
        optimizer.apply(list(gradients), [variables[k] for k in present] if present else variables)

    for number in steps:
        found = gradients_of(number)
        step(*([found[k] for k in present] if present else found))


def values(variables):
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def pair():
    """Keras' Adam and ours, each with variables of its own of the same values."""
    first, second = make_variables(), make_variables()
    return (build(keras.optimizers.Adam(**SETTINGS), first), first), (build(FlatAdam(**SETTINGS), second), second)


def test_numbers_are_keras_to_the_bit(pair):
    for optimizer, variables in pair:
        take(optimizer, variables, range(30))
    assert_same(values(pair[0][1]), values(pair[1][1]))
    for name, slots in slots_of(pair[1][0]).items():
        theirs = {"momentum": pair[0][0]._momentums, "velocity": pair[0][0]._velocities}[name]
        assert_same(values(theirs), values(slots))


def test_it_is_the_papers_rule_by_hand():
    """Kingma and Ba 2015, algorithm 1, with both corrections of the bias in the rate."""
    (variable,) = [keras.Variable(np.array([0.5, -1.0], "float32"))]
    optimizer = build(FlatAdam(0.1, beta_1=0.5, beta_2=0.75, epsilon=1e-3), [variable])
    expected, m, v = np.array([0.5, -1.0]), 0.0, 0.0
    for step, gradient in enumerate(([1.0, -2.0], [3.0, 0.5]), start=1):
        optimizer.apply([tf.constant(gradient)], [variable])
        m = 0.5 * m + 0.5 * np.array(gradient)
        v = 0.75 * v + 0.25 * np.square(gradient)
        expected = expected - 0.1 * np.sqrt(1 - 0.75**step) / (1 - 0.5**step) * m / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("present", [[0, 2], [4, 1], [3]])
def test_what_has_no_gradient_keeps_value_and_moments(pair, present):
    """Also where gradients are given in another order than variables were built in."""
    for optimizer, variables in pair:
        take(optimizer, variables, range(3))
        take(optimizer, variables, range(3, 6), present)
        take(optimizer, variables, range(6, 8))
    assert_same(values(pair[0][1]), values(pair[1][1]))
    assert_same(values(pair[0][0].variables), values(pair[1][0].variables))


def test_a_gradient_of_none_moves_nothing(pair):
    for optimizer, variables in pair:
        found = gradients_of(0)
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            optimizer.apply([found[0], None, *found[2:]], variables)
    assert_same(values(pair[0][1]), values(pair[1][1]))
    np.testing.assert_array_equal(pair[1][1][1].numpy(), make_variables()[1].numpy())


def test_states_of_keras_adam_are_read_and_the_other_way_round(pair):
    """Names, order and shapes agree, so a run goes on with either."""
    (theirs, first), (ours, second) = pair
    assert [one.path.split("/", 1)[-1] for one in ours.variables] == [
        one.path.split("/", 1)[-1] for one in theirs.variables
    ]
    take(theirs, first, range(4))
    for source, target in zip(theirs.variables, ours.variables, strict=True):
        assert tuple(source.shape) == tuple(target.shape)
        target.assign(keras.ops.convert_to_numpy(source.value))
    for source, target in zip(first, second, strict=True):
        target.assign(source.value)
    for optimizer, variables in pair:
        take(optimizer, variables, range(4, 9))
    assert_same(values(first), values(second))
    for source, target in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(source.value, target.value)


def test_a_saved_optimizer_is_what_it_was(pair):
    ours, variables = pair[1]
    take(ours, variables, range(2))
    store = {}
    ours.save_own_variables(store)
    other = build(FlatAdam.from_config(ours.get_config()), make_variables())
    other.load_own_variables(store)
    assert_same(values(ours.variables), values(other.variables))


def test_a_slot_is_a_part_of_its_buffer_and_of_nothing_else(pair):
    ours = pair[1][0]
    slots = ours.slots()["velocity"]
    slots[3].assign(np.full((7, 1), 2.0))
    assert [float(np.abs(np.asarray(slot)).sum()) for slot in slots] == [0, 0, 0, 14, 0]
    assert np.asarray(slots[3]).shape == (7, 1)
    with pytest.raises(ValueError, match=r"v3_velocity has shape \(7, 1\), not \(7,\)"):
        slots[3].assign(np.zeros(7))


def test_both_moments_do_not_share_a_buffer(pair):
    ours = pair[1][0]
    ours.slots()["momentum"][0].assign(np.ones(SHAPES[0]))
    assert not np.any(ours.slots()["velocity"][0].numpy())


def test_float16_and_amsgrad_are_refused():
    with pytest.raises(ValueError, match=r"float32 variables.* use keras\.optimizers\.Adam"):
        FlatAdam().build([keras.Variable(np.zeros(2), dtype="float16")])
    with pytest.raises(ValueError, match="no amsgrad"):
        FlatAdam(amsgrad=True).build(make_variables())


def test_a_scaled_loss_is_unscaled_and_an_overflow_moves_nothing():
    variables = make_variables()
    plain, scaled = FlatAdam(**SETTINGS), keras.optimizers.LossScaleOptimizer(FlatAdam(**SETTINGS), initial_scale=8.0)
    others = make_variables()
    build(plain, variables), build(scaled, others)
    take(plain, variables, range(2))
    for number in range(2):
        scaled.apply([8.0 * one for one in gradients_of(number)], others)
    for a, b in zip(values(variables), values(others), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    before = values(others)
    scaled.apply([one * np.inf for one in gradients_of(3)], others)
    assert_same(before, values(others))


def test_two_devices_sum_their_gradients():
    """Each gives half of the gradient; both hold what Keras' Adam makes of all of it on one device."""
    script = """
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        import keras
        import numpy as np
        from sfgkeras.networks.flat_adam import FlatAdam

        shapes = [(3, 2, 5), (5,), ()]

        def variables_of(optimizer):
            numbers = np.random.default_rng(0)
            variables = [keras.Variable(numbers.normal(size=shape).astype("float32")) for shape in shapes]
            optimizer.build(variables)
            return variables

        def gradients(step):
            numbers = np.random.default_rng([1, step])
            return [tf.constant(numbers.normal(size=shape), tf.float32) for shape in shapes]

        alone = keras.optimizers.Adam(0.02)
        expected = variables_of(alone)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            optimizer = FlatAdam(0.02)
            variables = variables_of(optimizer)

        @tf.function(autograph=False)
        def step(*found):
            strategy.run(lambda: optimizer.apply([one / 2 for one in found], variables))

        for number in range(4):
            alone.apply(gradients(number), expected)
            step(*gradients(number))
        for one, variable in zip(expected, variables, strict=True):
            for copy in variable.value.values:
                np.testing.assert_array_equal(one.numpy(), copy.numpy())

        optimizer.slots()["momentum"][1].assign(np.arange(5.0))
        for buffer in optimizer._momentum.value.values:
            np.testing.assert_array_equal(buffer.numpy()[30:35], np.arange(5.0))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=300)


def test_a_step_takes_few_operations_however_many_variables_there_are():
    """Two more for each further variable, its piece and its step, where Keras takes 22."""

    def operations(optimizer, count):
        variables = [keras.Variable(np.zeros(3, "float32")) for _ in range(count)]
        build(optimizer, variables)
        step = tf.function(lambda *gradients: optimizer.apply(list(gradients), variables), autograph=False)
        graph = step.get_concrete_function(*[tf.zeros(3)] * count).graph
        free = ("Const", "Placeholder", "Identity", "ReadVariableOp", "NoOp", "Reshape", "Shape")
        return sum(operation.type not in free for operation in graph.get_operations())

    assert operations(FlatAdam(), 40) - operations(FlatAdam(), 20) == 20
    assert operations(keras.optimizers.Adam(), 40) - operations(keras.optimizers.Adam(), 20) > 300
