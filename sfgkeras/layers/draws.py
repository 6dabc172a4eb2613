"""Random numbers of a batch, the same whether one device has the batch or several share it."""

from typing import Any

import keras
from keras import ops

from sfgkeras.layers.backend import uses_tensorflow
from sfgkeras.layers.synchronized import replica_context


def uniform_rows(shape: Any, seed: Any) -> Any:
    """Draws uniform numbers for the windows that a device has of a batch.

    Under a strategy with several replicas the numbers of the whole batch are drawn, from a seed that all replicas have
    in common, and every replica takes its own rows. Replicas are taken to have equally many windows, as in training.

    Args:
        shape: `(batch, ...)`, with the windows of this replica.
        seed: A Keras seed generator.

    Returns:
        float32 samples of U(0, 1).
    """
    context = replica_context() if uses_tensorflow() else None
    if context is None:
        return keras.random.uniform(shape, dtype="float32", seed=seed)
    import tensorflow as tf

    whole = keras.random.uniform((shape[0] * context.num_replicas_in_sync, *shape[1:]), dtype="float32", seed=seed)
    return tf.gather(whole, rows_of_replica(context, shape[0]))


def rows_of_replica(context: Any, batch_size: Any) -> Any:
    """Returns the rows of the whole batch that a replica has.

    Worker w of n has every n-th row from the w-th on (see `data.pipeline.training_dataset`), and its devices share them
    in order.

    Args:
        context: The replica context of a strategy.
        batch_size: Rows per replica.

    Returns:
        int32 `(batch_size,)`.
    """
    import tensorflow as tf

    devices = len(context.strategy.extended.worker_devices)
    workers = context.num_replicas_in_sync // devices
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    worker, device = replica // devices, replica % devices
    return worker + workers * (device * batch_size + tf.range(batch_size))


@keras.saving.register_keras_serializable(package="sfgkeras")
class BatchDropout(keras.layers.Dropout):
    """Dropout that drops the same features of a window on whichever device the window is."""

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Returns the features, in training some of them 0 and the others scaled up."""
        if not training or self.rate == 0:
            return inputs
        is_kept = uniform_rows(ops.shape(inputs), self.seed_generator) >= self.rate
        return ops.where(is_kept, inputs * (1.0 / (1.0 - self.rate)), ops.zeros_like(inputs))
