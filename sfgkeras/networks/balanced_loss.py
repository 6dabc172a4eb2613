"""What `compile` and `fit` train by where a network has a balancing rule of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.balancing.gradients import on_one_device
from sfgkeras.layers.backend import uses_tensorflow
from sfgkeras.layers.synchronized import replica_context
from sfgkeras.losses.likelihood import likelihood_of
from sfgkeras.networks.deep_supervision import deep_losses, weighed


class FunctionLoss(keras.losses.Loss):
    """A function of targets and outputs, which gives a value per sample or per voxel, as a loss.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name=getattr(function, "__name__", None))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns what the function gives."""
        return self.function(y_true, y_pred)


def loss_trackers(task_names: Sequence[str]) -> dict[str, keras.metrics.Metric]:
    """Returns what averages each task's loss over an epoch, under the names that Keras gives them."""
    return {name: keras.metrics.Mean(name=f"{name}_loss") for name in task_names}


def compiled_losses(network: keras.Model) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each task that a network was compiled with.

    Raises:
        ValueError: If it was compiled with weights of the losses, which its balancing rule has already; or if the
            losses are no dict by task, and there are several tasks.
    """
    given = network.loss
    # Not by get_compile_config, which reads the optimiser's variables: a compiled function cannot.
    if network._compile_config.config.get("loss_weights") is not None:
        raise ValueError(
            f"loss_weights stands beside balancing = {network.balancing.name}, which weighs the losses; leave "
            "loss_weights out, or give the weights to the network: balancing={'task': weight, ...}"
        )
    if not isinstance(given, Mapping):
        if len(network.task_names) > 1 and isinstance(given, list | tuple):
            raise ValueError("loss: one of each task is needed, by its name: {'task': loss, ...}")
        given = dict.fromkeys(network.task_names, given)
    return {task: as_loss(given[task]) for task in network.task_names if given.get(task) is not None}


def likelihoods(losses: Mapping[str, keras.losses.Loss]) -> dict[str, str]:
    """Returns what each task's loss is the negative logarithm of."""
    return {task: likelihood_of(loss) for task, loss in losses.items()}


def as_loss(given: Any) -> keras.losses.Loss:
    """Returns a loss, given as Keras takes it: an object, a function or a name."""
    found = keras.losses.get(given)
    return found if isinstance(found, keras.losses.Loss) else FunctionLoss(found)


def balanced_loss(network: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """Returns the objective of a batch: what the network's balancer makes of the tasks' losses, and the regularisation.

    Args:
        network: A compiled `MultiTaskNetwork`; `loss_trackers` are told the losses.
        x: Images.
        y: Targets by task.
        y_pred: Outputs by task.
        sample_weight: None, weights of all tasks, or weights by task.
        training: Whether it is trained on.

    Raises:
        ValueError: If it is trained on by a rule that needs more than the gradient of one objective.
    """
    balancer = network.balancer
    if training and balancer.asks_for_gradients:
        raise ValueError(
            f"balancing = {network.balancing.name} needs the gradients of the single tasks, which fit and "
            f"train_on_batch take on TensorFlow alone (this is {keras.backend.backend()}), and a loop of your own does "
            "not; use a rule of losses, such as dynamic_average or uncertainty, or train by an INI file"
        )
    values, presence = task_losses(network, x, y, y_pred, sample_weight, training)
    over_devices = sum_over_devices()
    factors = network.trunk.turn_factors() if training else None
    if factors is not None:
        return _of_turn(network, values, presence, factors) + regularisation(network)
    total = balancer.total(values, presence, training, over_devices)
    if training:
        balancer.take_note(values, presence, over_devices)
    return total + regularisation(network)


def _of_turn(network: Any, values: Mapping[str, Any], presence: Mapping[str, Any], factors: Any) -> Any:
    """Returns the term of the task whose turn it is: what a rule adds to a task's loss counts in its turn, too."""
    terms = [
        network.balancer.total({task: value}, {task: presence[task]}, True) * factors[network.task_names.index(task)]
        for task, value in values.items()
    ]
    return sum(terms[1:], terms[0])


def task_losses(
    network: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns this device's part of each task's loss and of the fraction of samples with a label of it.

    In training the judgement of a task's adversary is added to its loss, and the losses of its further heads count
    beside it (`deep_supervision`); `loss_trackers` know the loss alone. See `balanced_loss` for the arguments.
    """
    losses = compiled_losses(network)
    network.balancer.learn_of(likelihoods(losses))
    # One device's part of what does not depend on the samples; Keras' losses are such parts already.
    part = network._aggregate_additional_loss(ops.ones(()))
    values, presence = {}, {}
    for task, loss in losses.items():
        weight = sample_weight.get(task) if isinstance(sample_weight, Mapping) else sample_weight
        target = y[task] if isinstance(y, Mapping) else y
        values[task] = ops.cast(loss(target, y_pred[task], weight), "float32")
        presence[task] = part * labelled_fraction(weight)
        network.loss_trackers[task].update_state(values[task] / part, sample_weight=ops.shape(y_pred[task])[0])
        judgement = network.judgement(task, loss, x, target, y_pred[task], weight) if training else None
        if judgement is not None:
            values[task] = values[task] + part * ops.mean(judgement)
        if training:
            deep = deep_losses(network, task, loss, y_pred, target, weight, _measured_by(loss))
            values[task] = weighed(values[task], deep)
    return values, presence


def _measured_by(loss: keras.losses.Loss) -> Callable[[Any, Any, Any], Any]:
    return lambda target, output, weight: ops.cast(loss(target, output, weight), "float32")


def regularisation(network: Any) -> Any:
    """Returns this device's part of the losses of the layers, a float32 scalar."""
    total = ops.zeros((), "float32")
    for term in network.losses:
        total = total + network._aggregate_additional_loss(ops.cast(term, "float32"))
    return total


def sum_over_devices() -> Callable[[Any], Any]:
    """Returns what sums a tensor over the devices that share a batch; on one device, and off TensorFlow, nothing."""
    context = replica_context() if uses_tensorflow() else None
    if context is None:
        return on_one_device
    import tensorflow as tf

    def total(tensor: Any) -> Any:
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)

    return total


def labelled_fraction(weight: Any) -> Any:
    """Returns the fraction of the samples with a weight that is not 0 anywhere: those with a label."""
    if weight is None:
        return 1.0
    weight = ops.convert_to_tensor(weight)
    counts = ops.any(weight > 0, axis=tuple(range(1, len(weight.shape)))) if len(weight.shape) > 1 else weight > 0
    return ops.mean(ops.cast(counts, "float32"))
