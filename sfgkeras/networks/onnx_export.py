"""From a hardened network to an ONNX graph, layer by layer: no converter between, only the `onnx` package.

ONNX convolves channels first. The graph takes and gives channels last, as the network does, and transposes once
behind its input and once before every map that it gives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

OPSET = 17
# The oldest format that carries this opset, so that older runtimes load the file too.
IR_VERSION = 8
INPUT = "image"


class OnnxGraph:
    """Collects nodes and constants of a graph; tensors are known by their names.

    Args:
        spatial_rank: 2 or 3.
    """

    def __init__(self, spatial_rank: int) -> None:
        self.spatial_rank = spatial_rank
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        from onnx import helper

        number = len(self.nodes)
        name = f"{operator}_{number}"
        output = f"{name}_output" if output is None else output
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def add_several(self, operator: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        from onnx import helper

        name = f"{operator}_{len(self.nodes)}"
        outputs = [f"{name}_output_{number}" for number in range(count)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs

    def constant(self, values: Any) -> str:
        """Adds a float32 constant and returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.asarray(ops.convert_to_numpy(values), "float32")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def whole_number(self, value: int | Sequence[int]) -> str:
        """Adds a whole number, or a list of them, as a constant and returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, "int64"), name))
        return name

    def per_channel(self, values: Any) -> str:
        """Adds a constant `(channels,)` in the form that multiplies a channels-first map, `(channels, 1, ..)`."""
        return self.constant(np.reshape(ops.convert_to_numpy(values), (-1, *(1,) * self.spatial_rank)))


def _convolution(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    kernel = ops.convert_to_numpy(layer.kernel)
    keeps_size = layer.padding == "same" or set(layer.kernel_size) == {1}
    if set(layer.strides) != {1} or not keeps_size or layer.groups != 1:
        raise ValueError(f"layer {layer.name!r} is no convolution of stride 1 with zero padding to the same size")
    reach = [(size - 1) * dilation for size, dilation in zip(kernel.shape[:-2], layer.dilation_rate, strict=True)]
    # As TensorFlow pads: an odd voxel goes behind.
    before = [total // 2 for total in reach]
    constants = [graph.constant(np.moveaxis(kernel, (-1, -2), (0, 1)))]
    if layer.use_bias:
        constants.append(graph.constant(layer.bias))
    output = graph.add(
        "Conv",
        [*inputs, *constants],
        dilations=list(layer.dilation_rate),
        kernel_shape=list(kernel.shape[:-2]),
        pads=[*before, *(total - first for total, first in zip(reach, before, strict=True))],
    )
    return _activation_of(graph, layer, output)


def _dense(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    output = graph.add("Gemm", [*inputs, graph.constant(layer.kernel), graph.constant(layer.bias)])
    return _activation_of(graph, layer, output)


def _normalization(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return graph.add(
        "BatchNormalization", [*inputs, *(graph.constant(weight) for weight in weights)], epsilon=layer.epsilon
    )


def _prelu(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return graph.add("PRelu", [*inputs, graph.per_channel(layer.alpha)])


def _activation(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return _activation_of(graph, layer, inputs[0])


def _activation_of(graph: OnnxGraph, layer: Any, tensor: str) -> str:
    """Applies the activation that a layer carries."""
    name = keras.activations.serialize(layer.activation)
    if name == "linear":
        return tensor
    if name not in ACTIVATIONS:
        raise ValueError(
            f"layer {layer.name!r}: the activation {name!r} has no ONNX operator here; "
            f"there are {', '.join(sorted(ACTIVATIONS))}. Export as keras or saved_model instead"
        )
    operator, attributes, constants = ACTIVATIONS[name]
    return graph.add(operator, [tensor, *(graph.constant(value) for value in constants)], **attributes)


def _rescaling(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    scaled = graph.add("Mul", [*inputs, graph.per_channel(layer.scale)])
    return graph.add("Add", [scaled, graph.per_channel(layer.offset)]) if np.any(layer.offset) else scaled


def _sum(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return graph.add("Sum", inputs)


def _maximum(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return graph.add("Max", inputs)


def _concatenation(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return graph.add("Concat", inputs, axis=1)


def _max_pooling(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    return graph.add(
        "MaxPool", inputs, kernel_shape=list(layer.pool_size), strides=list(layer.strides), auto_pad=padding
    )


def _average_pooling(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    return graph.add(
        "AveragePool", inputs, kernel_shape=list(layer.pool_size), strides=list(layer.strides), auto_pad=padding
    )


def _average(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    return graph.add("Flatten", [graph.add("GlobalAveragePool", inputs)], axis=1)


def _widened(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    """Makes maps of one voxel of vectors, which is what `PlainLayers` reshapes."""
    return graph.add("Unsqueeze", [*inputs, graph.whole_number(list(range(2, graph.spatial_rank + 2)))])


def _flatten(graph: OnnxGraph, layer: Any, inputs: Sequence[str]) -> str:
    last = [0, *range(2, graph.spatial_rank + 2), 1]
    return graph.add("Flatten", [graph.add("Transpose", inputs, perm=last)], axis=1)


def _item(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    """Takes one line of voxels, or some of every axis, of a map."""
    wanted = _argument(operation, 1)
    if wanted[0] is Ellipsis:
        wanted = (*(slice(None),) * (graph.spatial_rank + 1), *wanted[1:])
    batch, *spatial, channel = wanted
    key, line = [batch, channel, *spatial], inputs[0]
    cut = {axis: k for axis, k in enumerate(key) if isinstance(k, slice) and (k.start or k.stop is not None)}
    if cut:
        ends = [np.iinfo("int64").max if part.stop is None else part.stop for part in cut.values()]
        bounds = [graph.whole_number(list(n)) for n in ([part.start or 0 for part in cut.values()], ends, list(cut))]
        line = graph.add("Slice", [line, *bounds])
    for axis in reversed(range(len(key))):
        if not isinstance(key[axis], slice):
            line = graph.add("Gather", [line, graph.whole_number(key[axis])], axis=axis)
    return line


def _ones(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    from onnx import TensorProto, helper

    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    return graph.add("ConstantOfShape", [graph.add("Shape", inputs)], value=one)


def _running_sum(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("CumSum", [*inputs, graph.whole_number(0)])


def _difference(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Sub", [*inputs, graph.whole_number(_argument(operation, 1))])


def _floor_quotient(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Div", [*inputs, graph.whole_number(_argument(operation, 1))])


def _take(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    """Takes lines of voxels, by indices that the graph computes, or given channels, the last axis of Keras."""
    if len(inputs) > 1:
        return graph.add("Gather", inputs, axis=operation.axis + 1)
    return graph.add("Gather", [*inputs, graph.whole_number(_argument(operation, 1))], axis=1)


def _clip(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Clip", [*inputs, graph.constant(operation.x_min), graph.constant(operation.x_max)])


def _argument(operation: Any, place: int) -> Any:
    """Returns an argument that an operation was called with and that is no tensor; Keras has no public way to it."""
    return operation._inbound_nodes[0].arguments.args[place]


def _split(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> list[str]:
    """Takes the batch apart into equal parts: the features of every frame."""
    return graph.add_several("Split", inputs, operation.indices_or_sections, axis=operation.axis)


def _in_batch(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    """Puts tensors one behind the other along the batch, or along channels, the last axis of Keras."""
    return graph.add("Concat", inputs, axis=0 if operation.axis == 0 else 1)


def _padded(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    """Puts a frame of zeros around maps."""
    batch, *spatial, channels = operation.pad_width
    widths = [batch, channels, *spatial]
    return graph.add("Pad", [*inputs, graph.whole_number([width[end] for end in (0, 1) for width in widths])])


def _raised(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Add", [*inputs, graph.constant(_argument(operation, 1))])


def _root(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Sqrt", inputs)


def _product(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Mul", inputs)


def _quotient(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("Div", inputs)


def _sum_of_channels(graph: OnnxGraph, operation: Any, inputs: Sequence[str]) -> str:
    return graph.add("ReduceSum", [*inputs, graph.whole_number([1])], keepdims=1)


Converter = Callable[[OnnxGraph, Any, Sequence[str]], "str | list[str]"]

# What `PlainLayers` makes, and how each of it is written in ONNX.
CONVERTERS: Mapping[type, Converter] = {
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv3D: _convolution,
    keras.layers.BatchNormalization: _normalization,
    keras.layers.PReLU: _prelu,
    keras.layers.Activation: _activation,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Add: _sum,
    keras.layers.Maximum: _maximum,
    keras.layers.Concatenate: _concatenation,
    keras.layers.MaxPooling2D: _max_pooling,
    keras.layers.MaxPooling3D: _max_pooling,
    keras.layers.AveragePooling2D: _average_pooling,
    keras.layers.AveragePooling3D: _average_pooling,
    keras.layers.GlobalAveragePooling2D: _average,
    keras.layers.GlobalAveragePooling3D: _average,
    keras.layers.Flatten: _flatten,
    keras.layers.Dense: _dense,
    keras.layers.Reshape: _widened,
}

# The operations, by the names of their classes: `PlainLayers.upsample` finds the voxels that it repeats by them.
OPERATIONS: Mapping[str, Converter] = {
    "GetItem": _item,
    "OnesLike": _ones,
    "Cumsum": _running_sum,
    "Subtract": _difference,
    "FloorDivide": _floor_quotient,
    "Take": _take,
    "Clip": _clip,
    "Split": _split,
    "Concatenate": _in_batch,
    "Pad": _padded,
    "Add": _raised,
    "Sqrt": _root,
    "Multiply": _product,
    "TrueDivide": _quotient,
    "Sum": _sum_of_channels,
}

# Keras' names of activations: operator, attributes (the slopes that Keras takes), constants.
ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, Any], Sequence[float]]] = {
    "relu": ("Relu", {}, ()),
    "relu6": ("Clip", {}, (0.0, 6.0)),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}, ()),
    "elu": ("Elu", {"alpha": 1.0}, ()),
    "selu": ("Selu", {}, ()),
    "softplus": ("Softplus", {}, ()),
    "softsign": ("Softsign", {}, ()),
    "tanh": ("Tanh", {}, ()),
    "sigmoid": ("Sigmoid", {}, ()),
    "softmax": ("Softmax", {"axis": 1}, ()),
}


def build_onnx_model(network: keras.Model) -> Any:
    """Writes a hardened network as an ONNX model with the same numbers.

    The input is called `image` and the outputs by their tasks; batch and spatial sizes are free, channels come last.

    Args:
        network: What `harden` returned: a functional model of Keras' own layers in float32.

    Returns:
        The checked `onnx.ModelProto`.

    Raises:
        ValueError: If a layer has no ONNX form here, or a task is called as the input is.
    """
    import onnx
    from onnx import TensorProto, helper

    if INPUT in network.output:
        raise ValueError(f"a task is called {INPUT!r}, as the input of the ONNX model is; give the task another name")
    spatial_rank = len(network.inputs[0].shape) - 2
    graph = OnnxGraph(spatial_rank)
    axes = list(range(spatial_rank + 2))
    names = {id(network.inputs[0]): graph.add("Transpose", [INPUT], perm=[0, axes[-1], *axes[1:-1]])}
    for layer in network.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        parents = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
        made = _converter(layer)(graph, layer, [names[id(parent)] for parent in parents])
        outputs = layer.output if isinstance(layer.output, list | tuple) else [layer.output]
        names |= {
            id(output): name for output, name in zip(outputs, [made] if isinstance(made, str) else made, strict=True)
        }
    described = []
    for task, tensor in network.output.items():
        is_map = len(tensor.shape) > 2
        operator, attributes = ("Transpose", {"perm": [0, *axes[2:], 1]}) if is_map else ("Identity", {})
        graph.add(operator, [names[id(tensor)]], output=task, **attributes)
        described.append(helper.make_tensor_value_info(task, TensorProto.FLOAT, _free_shape(tensor.shape)))
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, _free_shape(network.inputs[0].shape))
    whole = helper.make_graph(graph.nodes, "network", [image], described, graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="sfgkeras")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def _converter(layer: Any) -> Converter:
    """Returns the function that writes a layer.

    Raises:
        ValueError: If there is none, or the layer does not compute in float32.
    """
    if not isinstance(layer, keras.layers.Layer) and type(layer).__name__ in OPERATIONS:
        return OPERATIONS[type(layer).__name__]
    if type(layer) not in CONVERTERS:
        known = ", ".join(kind.__name__ for kind in CONVERTERS)
        raise ValueError(
            f"layer {layer.name!r} is a {type(layer).__name__}, which has no ONNX form here; there are {known}. "
            "Export as keras or saved_model instead"
        )
    if layer.compute_dtype != "float32":
        raise ValueError(f"layer {layer.name!r} computes in {layer.compute_dtype}; harden the network in float32")
    return CONVERTERS[type(layer)]


def _free_shape(shape: Sequence[int | None]) -> list[str | int]:
    """Names the free axes of a shape: inputs and outputs share them."""
    free = ["batch", "x", "y", "z"]
    return [free[axis] if size is None else size for axis, size in enumerate(shape)]
