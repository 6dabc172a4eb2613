"""Replicas of one strategy draw the same masks and equal one device on the whole batch."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ("", 0.05),
        pytest.param("per_sample=True, dropout=0.3", 0.05, marks=pytest.mark.ci_sample),
        ("sharing='soft_sharing', strength=0.5, distance='trace_norm'", 0.005),
        ("sharing='soft_sharing', strength=0.5, distance='absolute'", 0.005),
        ("sharing='sluice', orthogonality=0.1", 0.005),
        ("sharing='deep_relationship', task_layers=2, update_every=1, strength=0.05", 0.005),
        ("sharing='joint_many', trained='in_turns', period=2, strength=0.5", 0.002),
    ],
    ids=["plain", "draws", "trace_norm", "absolute", "sluice", "deep_relationship", "joint_many"],
)
def test_two_replicas_equal_one_device_on_the_whole_batch(options, rate):
    script = """
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.networks import MultiTaskNetwork
        from sfgkeras.architecture.stage import Stage

        class SmallNetwork(MultiTaskNetwork):
            stages = (Stage(6, num_blocks=1, dilation=2), Stage(8))

        x = tf.random.stateless_normal((4, 9, 9, 1), (1, 2))

        def step(network, x):
            with tf.GradientTape() as tape:
                outputs = network(x, training=True)
                total = sum(tf.reduce_sum(tf.sin(output)) for output in outputs.values()) / 4.0
                total += tf.add_n(network.losses) / tf.distribute.get_replica_context().num_replicas_in_sync
            gradients = tape.gradient(total, network.trainable_variables)
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
                variable.assign(variable - RATE * gradient)
            return outputs["a"]

        def train(strategy):
            with strategy.scope():
                network = SmallNetwork({"a": 1, "b": 2}, seed=5, OPTIONS)
                network.build((None, 9, 9, 1))
            replicas = strategy.num_replicas_in_sync
            parts = strategy.experimental_distribute_values_from_function(
                lambda c: tf.split(x, replicas)[c.replica_id_in_sync_group]
            )
            run = tf.function(lambda parts: strategy.run(step, (network, parts)))
            for _ in range(3):
                outputs = strategy.experimental_local_results(run(parts))
            return network, np.concatenate(outputs)

        alone, expected = train(tf.distribute.OneDeviceStrategy("CPU:0"))
        network, outputs = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)
        assert network.iteration.numpy() == alone.iteration.numpy() == 3
        assert network.masks == "auto"
        for one, two in zip(network.weights, alone.weights, strict=True):
            np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-3, atol=1e-4, err_msg=two.path)
        for one, two in zip(network.random_state().values(), alone.random_state().values(), strict=True):
            np.testing.assert_array_equal(one, two)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script).replace("OPTIONS", options).replace("RATE", str(rate))],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.ci_sample
def test_synchronised_normalisation_and_its_gradient_are_those_of_the_whole_batch_in_float64():
    script = """
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.layers.backend import batch_normalize

        random_generator = np.random.default_rng(0)
        epsilon = 1e-3
        # Replicas of unlike size and far from 0, where careless sums of squares lose everything.
        x = random_generator.normal(100.0, 0.5, (5, 4, 4, 3))
        dy = random_generator.normal(size=x.shape)
        scale, offset = random_generator.uniform(0.5, 2.0, 3), random_generator.normal(size=3)
        parts = [slice(0, 2), slice(2, 5)]

        def tensor(value):
            return tf.constant(value, tf.float32)

        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

        @tf.function(autograph=False)
        def run():
            def replica(x, dy):
                values = [x, tensor(scale), tensor(offset)]
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    y, mean, variance = batch_normalize(*values, epsilon)
                    total = tf.reduce_sum(y * dy)
                return y, mean, variance, *tape.gradient(total, values)

            def share(value):
                return strategy.experimental_distribute_values_from_function(
                    lambda context: tensor(value[parts[context.replica_id_in_sync_group]])
                )

            return strategy.run(replica, (share(x), share(dy)))

        y, mean, variance, dx, dscale, doffset = [strategy.experimental_local_results(part) for part in run()]

        axes = (0, 1, 2)
        x = np.float64(np.float32(x))
        deviation = np.sqrt(x.var(axes) + epsilon)
        normalized = (x - x.mean(axes)) / deviation
        wanted_dx = scale / deviation * (dy - dy.mean(axes) - normalized * (dy * normalized).mean(axes))
        np.testing.assert_allclose(mean[0], x.mean(axes), rtol=1e-6)
        np.testing.assert_allclose(variance[1], x.var(axes), rtol=1e-4)
        np.testing.assert_allclose(np.concatenate(y), scale * normalized + offset, atol=2e-4)
        np.testing.assert_allclose(np.concatenate(dx), wanted_dx, atol=2e-4)
        # A replica's own part: the optimiser adds them.
        np.testing.assert_allclose(dscale[0] + dscale[1], (dy * normalized).sum(axes), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(doffset[0] + doffset[1], dy.sum(axes), rtol=1e-4, atol=1e-4)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr
