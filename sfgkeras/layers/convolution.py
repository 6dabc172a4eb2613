"""One convolution layer for every spatial rank, whose output can be masked inside its kernel."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.errors import suggestion
from sfgkeras.layers.backend import convolve, fan_out
from sfgkeras.layers.repeated import convolve_joined, joined, pays_to_fold

PADDINGS = ("same", "valid")


def per_axis(value: Any, spatial_rank: int, name: str) -> tuple[int, ...]:
    """Returns one positive whole number for every spatial axis, from one for all or a sequence of them.

    Args:
        value: A number, or one per axis.
        spatial_rank: Number of axes.
        name: What the number is, for the message, e.g. `"kernel_size"`.

    Raises:
        ValueError: If the value is anything else.
    """
    numbers = list(value) if isinstance(value, list | tuple) else [value] * spatial_rank
    is_whole = all(not isinstance(n, bool) and hasattr(n, "__index__") and int(n) > 0 for n in numbers)
    if len(numbers) != spatial_rank or not is_whole:
        raise ValueError(
            f"{name} = {value!r} must be a positive whole number, or {spatial_rank} of them, one for each spatial axis"
        )
    return tuple(int(n) for n in numbers)


def as_written(numbers: Sequence[int]) -> int | tuple[int, ...]:
    """Returns one number where all axes have the same, as most users write it."""
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


@keras.saving.register_keras_serializable(package="sfgkeras")
class Convolution(keras.layers.Layer):
    """Convolves, channels last; by default with stride 1 and zero padding to the same size.

    Args:
        spatial_rank: 2 or 3.
        filters: Number of filters.
        kernel_size: Side of the kernel, in voxels: a number, or one per axis. An even side reaches one voxel further
            towards the end of an axis than towards its beginning, as in Keras.
        dilation: Distance between the voxels that neighbouring kernel entries read: a number, or one per axis.
        strides: Distance between the voxels where the kernel is applied: a number, or one per axis.
        padding: `same` (zeros around the image; every stride-th voxel has an output) or `valid` (none).
        use_bias: Whether a bias is added. A bias before a normalisation is cancelled by it and only costs
            time.
        kernel_initializer: Keras initialiser of the kernel.
        bias_initializer: Keras initialiser of the bias.
        kernel_regularizer: Keras regulariser of the kernel, e.g. `keras.regularizers.L2(1e-6)`.

    Raises:
        ValueError: If a size, stride or dilation is not positive, a padding is unknown, or strides and dilation are
            both above 1.
    """

    def __init__(
        self,
        spatial_rank: int,
        filters: int,
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        use_bias: bool = False,
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        strides: int | Sequence[int] = 1,
        padding: str = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spatial_rank = spatial_rank
        (self.filters,) = per_axis(filters, 1, "filters")
        self.kernel_size = as_written(per_axis(kernel_size, spatial_rank, "kernel_size"))
        self.dilation = as_written(per_axis(dilation, spatial_rank, "dilation"))
        self.strides = as_written(per_axis(strides, spatial_rank, "strides"))
        if padding not in PADDINGS:
            hint = suggestion(str(padding), list(PADDINGS)) or f"; use one of {', '.join(PADDINGS)}"
            raise ValueError(f"unknown padding {padding!r}{hint}")
        if self.strides != 1 and self.dilation != 1:
            raise ValueError(f"strides = {strides} and dilation = {dilation}: only one of them may be above 1")
        self.padding = padding
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias = None

    def build(self, input_shape: Any) -> None:
        """Creates the kernel `(*kernel_size, channels, filters)` and the bias `(filters,)`."""
        self.kernel = self.add_weight(
            shape=per_axis(self.kernel_size, self.spatial_rank, "kernel_size") + (input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            autocast=False,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.filters,), initializer=self.bias_initializer, autocast=False, name="bias"
            )

    def kernel_copies(self, count: int) -> list[Any]:
        """Returns the kernel, in the compute type, as often as it is used; see `backend.fan_out`."""
        return fan_out(ops.cast(self.kernel, self.compute_dtype), count)

    def call(self, inputs: Any, filter_mask: Any = None, kernel: Any = None, dilation: Any = None) -> Any:
        """Convolves, then multiplies every output channel by its mask.

        A mask per filter is multiplied into the kernel, which is the same and passes over no feature map.

        Args:
            inputs: `(batch, *spatial, channels)`.
            filter_mask: None, `(filters,)`, or `(batch, filters)`.
            kernel: One of `kernel_copies`, where the layer is called several times; None means the kernel.
            dilation: Dilation of this call, for inputs in phases; None means the layer's own.

        Returns:
            `(batch, *spatial, filters)` in the compute type; see `output_shape_of` for the spatial size.
        """
        kernel, bias = self.kernel if kernel is None else kernel, self.bias
        folds = filter_mask is not None and len(filter_mask.shape) == 1
        if folds:
            kernel = kernel * filter_mask
            bias = None if bias is None else bias * filter_mask
        kernel = ops.cast(kernel, self.compute_dtype)
        outputs = self._convolve(inputs, kernel, self.dilation if dilation is None else dilation)
        if bias is not None:
            outputs = outputs + ops.cast(bias, self.compute_dtype)
        return outputs if filter_mask is None or folds else apply_mask(outputs, filter_mask)

    def _convolve(self, inputs: Any, kernel: Any, dilation: Any) -> Any:
        found = joined(inputs)
        is_plain = self.strides == 1 and dilation == 1 and self.padding == "same"
        if found is not None and is_plain and pays_to_fold(found, kernel):
            return convolve_joined(found, kernel)
        return convolve(ops.cast(inputs, self.compute_dtype), kernel, dilation, self.strides, self.padding)

    def output_shape_of(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the outputs for inputs `(batch, *spatial, channels)`.

        Raises:
            ValueError: If a `valid` convolution has no voxel left.
        """
        sizes = []
        rank = self.spatial_rank
        axes = zip(
            input_shape[1:-1],
            per_axis(self.kernel_size, rank, "kernel_size"),
            per_axis(self.strides, rank, "strides"),
            per_axis(self.dilation, rank, "dilation"),
            strict=True,
        )
        for size, side, stride, dilation in axes:
            reach = dilation * (side - 1) if self.padding == "valid" else 0
            if size is not None and size <= reach:
                raise ValueError(
                    f"padding = 'valid' with kernel_size = {self.kernel_size} leaves nothing of an input of shape "
                    f"{tuple(input_shape)}; use padding = 'same'"
                )
            sizes.append(None if size is None else math.ceil((size - reach) / stride))
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "spatial_rank": self.spatial_rank,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def apply_mask(features: Any, filter_mask: Any) -> Any:
    """Multiplies every channel by its mask, cast to the type of the features.

    Args:
        features: `(batch, *spatial, filters)`.
        filter_mask: `(filters,)` or `(batch, filters)`.

    Returns:
        Tensor of the shape of `features`.
    """
    filter_mask = ops.cast(filter_mask, features.dtype)
    if len(filter_mask.shape) == 2:
        filter_mask = ops.reshape(filter_mask, (-1,) + (1,) * (len(features.shape) - 2) + (features.shape[-1],))
    return features * filter_mask
