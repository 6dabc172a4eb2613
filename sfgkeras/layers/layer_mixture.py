"""The learned mixture of a task's layers that its head reads (beta of sluice networks, Ruder et al. 2017)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.layers.backend import ordered_sum
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.cross_stitch import initial_mixtures


@keras.saving.register_keras_serializable(package="sfgkeras")
class LayerMixture(keras.layers.Layer):
    """Weighs the outputs of all layers of a task: `sum_k beta_k P_k h_k` (Ruder et al. 2017, equation 5).

    The paper's layers are of one width. Here `P_k` is a learned 1 x 1 convolution, without bias, wherever a layer has
    another width than the last one, and the identity elsewhere; the last layer itself is always taken as it is. What
    calls the layer brings the layers to one size.

    Args:
        projections: For every layer but the last the `Convolution` of its features, or None.
        own_weight: Initial weight of the last layer; what it lacks to 1 is shared out equally among the others. None
            gives all the same weight.
    """

    built: bool

    def __init__(
        self, projections: Sequence[Convolution | None], own_weight: float | None = 0.9, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.projections = list(projections)
        self.own_weight = own_weight

    def build(self, input_shape: Any) -> None:
        """Creates `beta`, `(layers,)`, and the projections, for a list of the layers' shapes `(batch, *spatial, C)`."""
        if self.built:
            return
        initial = initial_mixtures(len(self.projections) + 1, self.own_weight)[-1]
        self.beta = self.add_weight(
            shape=initial.shape,
            initializer=keras.initializers.Constant(initial),
            autocast=False,
            name="beta",
        )
        for projection, shape in zip(self.projections, input_shape, strict=False):
            # One that was read from a file is built already.
            if projection is not None and not projection.built:
                projection.build(shape)
        self.built = True

    def weights_of_layers(self) -> list[Any]:
        """Returns the weight of every layer, a scalar tensor each; each is to be used once."""
        beta = ops.convert_to_tensor(self.beta)
        return [beta[place] for place in range(len(self.projections) + 1)]

    def weigh(self, place: int, features: Any, weight: Any) -> Any:
        """Returns what a layer adds to the mixture, at the layer's own size.

        The weight is multiplied into the kernel of a projection, which passes over no feature map.

        Args:
            place: Which layer.
            features: `(batch, *spatial, channels)`.
            weight: One of `weights_of_layers`.
        """
        projection = self.projections[place] if place < len(self.projections) else None
        if projection is None:
            return features * ops.cast(weight, features.dtype)
        return projection(features, kernel=ops.convert_to_tensor(projection.kernel) * weight)

    def call(self, inputs: Sequence[Any]) -> Any:
        """Mixes layers of one size.

        Args:
            inputs: One tensor `(batch, *spatial, channels)` per layer, all of one spatial size.

        Returns:
            Tensor of the shape of the last one.
        """
        weights = self.weights_of_layers()
        return ordered_sum([self.weigh(place, *pair) for place, pair in enumerate(zip(inputs, weights, strict=True))])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        projections = [layer and keras.saving.serialize_keras_object(layer) for layer in self.projections]
        return super().get_config() | {"projections": projections, "own_weight": self.own_weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LayerMixture":
        """Builds the mixture from what `get_config` returned."""
        projections = [layer and keras.saving.deserialize_keras_object(layer) for layer in config["projections"]]
        return cls(**(config | {"projections": projections}))
