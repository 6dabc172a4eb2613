"""An initialiser whose values are those of another one, scaled and moved."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="sfgkeras")
class ScaledInitializer(keras.initializers.Initializer):
    """Draws what another initialiser draws, times a factor, plus an offset.

    Args:
        initializer: A Keras initialiser, its name or its configuration.
        factor: What its values are multiplied by.
        offset: What is added to them then.

    Examples:
        >>> float(ScaledInitializer("ones", 0.25)((1,))[0])
        0.25
    """

    def __init__(self, initializer: Any, factor: float, offset: float = 0.0) -> None:
        self.initializer = keras.initializers.get(initializer)
        self.factor = float(factor)
        self.offset = float(offset)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of a shape."""
        values = self.factor * self.initializer(shape, dtype=dtype)
        return values + self.offset if self.offset else values

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "factor": self.factor,
            "offset": self.offset,
        }
