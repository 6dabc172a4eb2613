"""One convolution layer for every spatial rank, whose output can be masked inside its kernel."""

from typing import Any

import keras
from keras import ops

from sfgkeras.layers.backend import convolve, fan_out


@keras.saving.register_keras_serializable(package="sfgkeras")
class Convolution(keras.layers.Layer):
    """Convolves with stride 1 and zero padding to the same size, channels last.

    Args:
        spatial_rank: 2 or 3.
        filters: Number of filters.
        kernel_size: Side of the kernel, in voxels, on every axis.
        dilation: Distance between the voxels that neighbouring kernel entries read.
        use_bias: Whether a bias is added. A bias before a normalisation is cancelled by it and only costs
            time.
        kernel_initializer: Keras initialiser of the kernel.
        bias_initializer: Keras initialiser of the bias.
        kernel_regularizer: Keras regulariser of the kernel, e.g. `keras.regularizers.L2(1e-6)`.
    """

    def __init__(
        self,
        spatial_rank: int,
        filters: int,
        kernel_size: int,
        dilation: int = 1,
        use_bias: bool = False,
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spatial_rank = spatial_rank
        self.filters = filters
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias = None

    def build(self, input_shape: Any) -> None:
        """Creates the kernel `(*kernel_size, channels, filters)` and the bias `(filters,)`."""
        self.kernel = self.add_weight(
            shape=(self.kernel_size,) * self.spatial_rank + (input_shape[-1], self.filters),
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

    def call(self, inputs: Any, filter_mask: Any = None, kernel: Any = None, dilation: int | None = None) -> Any:
        """Convolves, then multiplies every output channel by its mask.

        A mask per filter is multiplied into the kernel, which is the same and passes over no feature map.

        Args:
            inputs: `(batch, *spatial, channels)`.
            filter_mask: None, `(filters,)`, or `(batch, filters)`.
            kernel: One of `kernel_copies`, where the layer is called several times; None means the kernel.
            dilation: Dilation of this call, for inputs in phases; None means the layer's own.

        Returns:
            `(batch, *spatial, filters)` in the compute type.
        """
        kernel, bias = self.kernel if kernel is None else kernel, self.bias
        folds = filter_mask is not None and len(filter_mask.shape) == 1
        if folds:
            kernel = kernel * filter_mask
            bias = None if bias is None else bias * filter_mask
        dilation = self.dilation if dilation is None else dilation
        outputs = convolve(ops.cast(inputs, self.compute_dtype), ops.cast(kernel, self.compute_dtype), dilation)
        if bias is not None:
            outputs = outputs + ops.cast(bias, self.compute_dtype)
        return outputs if filter_mask is None or folds else apply_mask(outputs, filter_mask)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "spatial_rank": self.spatial_rank,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
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
