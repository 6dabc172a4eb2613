"""Where an image speaks for a class: class activation maps (Zhou et al. 2016) and Grad-CAM (Selvaraju et al. 2017)."""

from typing import Any

from keras import ops

from sfgkeras.errors import suggestion
from sfgkeras.networks.base import MultiTaskNetwork
from sfgkeras.networks.heads import TaskHead
from sfgkeras.tables.class_maps import CLASS_MAPS


def class_maps(network: MultiTaskNetwork, images: Any, task: str, method: str = "cam", one_logit: bool = False) -> Any:
    """Returns by how much every place of images speaks for each class of a task.

    `cam` weighs the last feature maps, those that the head averages, by the weights of the class: `M_c(x) = sum_k w_ck
    f_k(x)` (Liu et al. 2018). Its mean over all voxels, with the bias, is the logit. `grad_cam` weighs them by the mean
    over all voxels of the gradient of the logit, and cuts off what speaks against the class: `max(0, sum_k a_ck
    f_k(x))`. It is there for heads of several layers and for flattened features, too.

    Args:
        network: A built network.
        images: `(batch, *spatial, channels)`.
        task: A task with a `vector` head.
        method: A key of `tables.class_maps.CLASS_MAPS`.
        one_logit: Whether a single output is the logit of the second of two classes; what speaks for it speaks against
            the first.

    Returns:
        float32 `(batch, *spatial, classes)` at the size of the images: maps of pooled features are interpolated.

    Raises:
        ValueError: If there is no such task or method, or the head has no such map; says which it has.
    """
    if task not in network.tasks:
        hint = suggestion(task, network.task_names) or f"; it has {', '.join(network.task_names)}"
        raise ValueError(f"the network has no task {task!r}{hint}")
    if not network.built:
        raise ValueError(f"network {network.name!r} has no weights yet: call it on images, or build it, first")
    place = network.task_names.index(task)
    head = network.heads[place]
    check_method(head, task, method)
    images = ops.cast(images, network.compute_dtype)
    masks = ops.convert_to_tensor(network._mask_source)
    features = ops.cast(network.trunk(images, network.temperature, masks, training=False)[place], "float32")
    weights = (_class_weights if method == "cam" else _mean_gradients)(head, features)
    weights = ops.concatenate([-weights, weights], axis=1) if one_logit else weights
    maps = ops.einsum("bvk,bck->bvc", _flat(features), weights)
    maps = ops.reshape(maps, (*_shape(features)[:-1], maps.shape[-1]))
    maps = maps if method == "cam" else ops.relu(maps)
    architecture = network.trunk.architecture
    return _enlarged(maps, architecture.level_after(architecture.taps[place]), images)


def check_method(head: TaskHead, task: str, method: str) -> None:
    """Refuses a kind of map that a head does not have.

    Raises:
        ValueError: Says which it has.
    """
    if method not in CLASS_MAPS:
        raise ValueError(f"there is no map {method!r} of classes; there are {', '.join(CLASS_MAPS)}")
    if head.kind != "vector":
        raise ValueError(f"task {task!r} has a map of its own, and no classes of the image")
    if method == "cam" and (head.hidden or head.head.needs_fixed_size):
        why = "flattens its features" if head.head.needs_fixed_size else "has layers before that of the classes"
        raise ValueError(f"the head of task {task!r} {why}, which class activation maps (cam) cannot be; use grad_cam")


def _class_weights(head: TaskHead, features: Any) -> Any:
    """Returns the weights of every class, `(batch, classes, features)`."""
    weights = ops.transpose(ops.convert_to_tensor(head.projection.kernel))
    return ops.repeat(weights[None], ops.shape(features)[0], axis=0)


def _mean_gradients(head: TaskHead, features: Any) -> Any:
    """Returns the mean over the voxels of the gradient of every logit, `(batch, classes, features)`.

    A head is layers with ReLU between them, whose gradient is written down: it is one on every backend.
    """
    values = head._pooled(features)
    is_open = []
    for layer in head.hidden:
        values = layer(values)
        is_open.append(ops.cast(values > 0, "float32"))
        values = ops.relu(values)
    gradient = _class_weights(head, features)
    for layer, opened in zip(reversed(head.hidden), reversed(is_open), strict=True):
        gradient = ops.matmul(gradient * opened[:, None], ops.transpose(ops.convert_to_tensor(layer.kernel)))
    if head.head.needs_fixed_size:
        shape = (ops.shape(features)[0], head.channels, -1, features.shape[-1])
        return ops.mean(ops.reshape(gradient, shape), axis=2)
    return gradient / ops.cast(ops.shape(_flat(features))[1], "float32")


def _shape(features: Any) -> tuple[Any, ...]:
    return tuple(ops.shape(features))


def _flat(features: Any) -> Any:
    """Returns features `(batch, voxels, channels)`."""
    return ops.reshape(features, (ops.shape(features)[0], -1, features.shape[-1]))


def _enlarged(maps: Any, level: int, images: Any) -> Any:
    """Brings maps behind so many poolings to the size of the images, as pooling has laid the voxels."""
    rank = len(maps.shape) - 2
    for _ in range(level):
        for axis in range(1, rank + 1):
            maps = _doubled(maps, axis)
    size = _shape(images)
    return maps[(slice(None), *(slice(0, size[axis]) for axis in range(1, rank + 1)))]


def _doubled(maps: Any, axis: int) -> Any:
    """Interpolates linearly between the voxels of an axis, each of which becomes two."""
    twice = ops.repeat(maps, 2, axis=axis)
    first, last = _part(twice, axis, slice(0, 1)), _part(twice, axis, slice(-1, None))
    before = ops.concatenate([first, _part(twice, axis, slice(0, -1))], axis=axis)
    behind = ops.concatenate([_part(twice, axis, slice(1, None)), last], axis=axis)
    return (before + 2.0 * twice + behind) / 4.0


def _part(maps: Any, axis: int, part: slice) -> Any:
    return maps[tuple(part if other == axis else slice(None) for other in range(len(maps.shape)))]
