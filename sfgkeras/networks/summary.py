"""The table that `network.summary()` prints: what every stage, stream and head has."""

import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from sfgkeras.networks.counting import count_parameters, predicting_weights
from sfgkeras.networks.expected_multiplies import relative_multiplies


def summary_lines(network: Any) -> Iterator[str]:
    """Returns the lines of a summary: the layers of every stage in order, the heads, and sums.

    Args:
        network: A `MultiTaskNetwork`.
    """
    tasks = ", ".join(f"{name} ({channels})" for name, channels in network.tasks.items())
    yield f"{type(network).__name__} {network.name!r}, sharing {network.sharing.name}, masks {network.masks}"
    yield f"tasks and their channels: {tasks}"
    if not network.built:
        yield "not built yet: call it on images, or network.build((None, *spatial, channels)), for its parameters"
        return
    rows: list[tuple[str, ...]] = [("layer", "kind", "kernel", "filters", "parameters")]
    rows += [_row(layer) for layer in [*_stages(network.trunk), *network.heads]]
    names = _names(network)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for index, row in enumerate(rows):
        left = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join([*left, *right, *names[index : index + 1]]).rstrip()
        if index == 0:
            yield "-" * (sum(widths) + 2 * (len(widths) - 1))
    trained = count_parameters(network)
    every = sum(math.prod(weight.shape) for weight in predicting_weights(network, network.weights))
    yield f"{trained:,} parameters are trained, {every - trained:,} are statistics and states"
    if network.groupings():
        share = network.undecided_filters
        yield f"{share:.0%} of the filters are undecided; at inference masks are those of {network.settled_masks!r}"
        cost = float(ops.convert_to_numpy(relative_multiplies(network)))
        yield f"hardened, {cost:.0%} of the multiplies of a network that shares all filters are to be expected"


def _names(network: Any) -> list[str]:
    """Returns, for the header and every row, the stage that a layer belongs to or a head reads; none without names."""
    architecture = network.trunk.architecture
    if not any(stage.name for stage in architecture.stages):
        return []
    of_layers = [architecture.names[_number(layer) - 1] for layer in _stages(network.trunk)]
    return ["stage", *of_layers, *(f"reads {architecture.names[tap]}" for tap in architecture.taps)]


def _number(layer: keras.layers.Layer) -> int:
    """Returns the number of the stage of a layer, which its name holds."""
    return next((int(word) for word in layer.name.split("_") if word.isdigit()), 0)


def _stages(trunk: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers of a trunk that belong to stages, those of stages per task among them, in their order."""
    parts = trunk._flatten_layers(include_self=False, recursive=False)
    own = getattr(trunk, "own", None)
    if own is not None:
        parts = [part for part in parts if part is not own]
        parts += own._flatten_layers(include_self=False, recursive=False)
    order = {"sfg": 0, "convolution": 0, "activation": 1, "cross": 2, "sluice": 2, "blocks": 3}

    def place(layer: keras.layers.Layer) -> tuple[int, int]:
        return _number(layer), order.get(layer.name.split("_")[0], 4)

    return sorted(filter(_number, parts), key=place)


def _row(layer: Any) -> tuple[str, ...]:
    convolution = getattr(layer, "convolution", getattr(layer, "projection", layer))
    kernel = getattr(convolution, "kernel", None)
    size = "" if kernel is None else " x ".join(map(str, kernel.shape[:-2]))
    filters = "" if kernel is None else str(kernel.shape[-1])
    count = sum(math.prod(weight.shape) for weight in layer.trainable_weights)
    return layer.name, type(layer).__name__, size, filters, f"{count:,}"
