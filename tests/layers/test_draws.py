"""Random numbers of a batch that several devices share."""

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from sfgkeras.layers.draws import BatchDropout, rows_of_replica, uniform_rows


@pytest.mark.parametrize(("workers", "devices", "rows"), [(1, 1, 4), (1, 3, 2), (2, 1, 3), (3, 2, 2)])
def test_every_replica_has_the_rows_whose_windows_it_gets(workers, devices, rows):
    batch = np.arange(workers * devices * rows)
    for worker in range(workers):
        windows = batch[worker::workers]  # what `training_dataset` makes for `rows = (worker, workers)`
        for device in range(devices):
            context = SimpleNamespace(
                strategy=SimpleNamespace(extended=SimpleNamespace(worker_devices=["CPU"] * devices)),
                num_replicas_in_sync=workers * devices,
                replica_id_in_sync_group=worker * devices + device,
            )
            expected = np.split(windows, devices)[device]
            np.testing.assert_array_equal(rows_of_replica(context, rows), expected)


def test_one_device_draws_what_keras_draws():
    ours = uniform_rows((5, 3), keras.random.SeedGenerator(3))
    np.testing.assert_array_equal(ours, keras.random.uniform((5, 3), seed=keras.random.SeedGenerator(3)))


def test_dropout_is_that_of_keras_on_one_device():
    x = keras.random.normal((4, 5, 6), seed=1)
    ours, theirs = BatchDropout(0.3, seed=7), keras.layers.Dropout(0.3, seed=7)
    for training in (True, True, False):
        np.testing.assert_allclose(ours(x, training=training), theirs(x, training=training), rtol=1e-6)


def test_two_devices_take_their_rows_of_the_draws_for_the_whole_batch():
    script = """
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.layers.draws import BatchDropout
        from sfgkeras.layers.filter_grouping import FilterGrouping

        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            grouping = FilterGrouping(6, 2, initial_probabilities="dirichlet", per_sample=True, seed=4)
            grouping.build()
            dropout = BatchDropout(0.4, seed=9)
        states = [np.array(grouping.training_draws.state), np.array(dropout.seed_generator.state)]

        @tf.function(autograph=False)
        def run():
            def replica():
                masks = grouping(temperature=0.5, batch_size=3, training=True)
                return tf.transpose(masks, (1, 2, 0)), dropout(tf.ones((3, 7)), training=True)
            return strategy.run(replica)

        def whole(part):
            return np.concatenate([np.asarray(x) for x in strategy.experimental_local_results(part)])

        masks, kept = [whole(part) for part in run()]

        # The formula, in NumPy, on the numbers that the seeds give for the batch of six.
        uniform = [
            tf.random.stateless_uniform(shape, seed=tf.cast(state, tf.int32)).numpy().astype(float)
            for shape, state in zip([(6, 6, 3), (6, 7)], states)
        ]
        scores = (np.log(np.asarray(grouping.probabilities(), float)) - np.log(-np.log(uniform[0]))) / 0.5
        expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(masks, expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(kept, np.where(uniform[1] >= 0.4, 1 / 0.6, 0), rtol=1e-6)
        assert (kept[:3] != kept[3:]).any()
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
