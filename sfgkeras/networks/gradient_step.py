"""The step of `fit` where a balancing rule needs the gradients of the single tasks, on TensorFlow."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.balancing.gradients import Gradients
from sfgkeras.networks.balanced_loss import regularisation, sum_over_devices, task_losses


def gradient_step(network: Any, data: Any) -> dict[str, Any]:
    """Takes one step of a compiled network, as `keras.Model.train_step` does, by the gradients of its balancer.

    Args:
        network: A compiled `MultiTaskNetwork` whose balancer asks for gradients.
        data: What Keras gives: images, targets and weights of samples.

    Returns:
        The means of losses and metrics so far in this epoch.
    """
    import tensorflow as tf

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    optimizer, variables = network.optimizer, network.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(x, training=True)
        network.record_errors(y, outputs, sample_weight)
        losses, presence = task_losses(network, x, y, outputs, sample_weight)

        def differentiate(scalar: Any, of: Sequence[Any]) -> list[Any]:
            scaled = optimizer.scale_loss(scalar)
            with tape.stop_recording():
                return list(tape.gradient(scaled, of))

        over_devices = sum_over_devices()
        gradients = Gradients(variables, differentiate, over_devices, optimizer.scale_loss(ops.ones(())))
        total, found = network.balancer.backward(losses, presence, regularisation(network), gradients)
    optimizer.apply(found, variables)
    network._loss_tracker.update_state(over_devices(total), sample_weight=ops.shape(outputs[network.task_names[0]])[0])
    return dict(network.compute_metrics(x, y, outputs, sample_weight=sample_weight))
