"""Replicas of one strategy draw the same masks and equal one device on the whole batch."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
def test_two_replicas_equal_one_device_on_the_whole_batch():
    script = """
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.networks import MultiTaskNetwork
        from sfgkeras.networks.stages import Stage

        class SmallNetwork(MultiTaskNetwork):
            stages = (Stage(6, num_blocks=1, dilation=2), Stage(8))

        x = tf.random.stateless_normal((4, 9, 9, 1), (1, 2))

        def step(network, x):
            with tf.GradientTape() as tape:
                outputs = network(x, training=True)
                total = sum(tf.reduce_sum(tf.sin(output)) for output in outputs.values()) / 4.0
            gradients = tape.gradient(total, network.trainable_variables)
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
                variable.assign(variable - 0.05 * gradient)
            return outputs["a"]

        def train(strategy):
            with strategy.scope():
                network = SmallNetwork({"a": 1, "b": 2}, seed=5)
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
        assert network.masks == "sample"
        for one, two in zip(network.weights, alone.weights, strict=True):
            np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-3, atol=1e-4, err_msg=two.path)
        for one, two in zip(network.random_state().values(), alone.random_state().values(), strict=True):
            np.testing.assert_array_equal(one, two)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
