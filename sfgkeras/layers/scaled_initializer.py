"""An initialiser whose values are a part of those of another one."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="sfgkeras")
class ScaledInitializer(keras.initializers.Initializer):
    """Draws what another initialiser draws, times a factor.

    Args:
        initializer: A Keras initialiser, its name or its configuration.
        factor: What its values are multiplied by.

    Example:
        >>> float(ScaledInitializer("ones", 0.25)((1,))[0])
        0.25
    """

    def __init__(self, initializer: Any, factor: float) -> None:
        self.initializer = keras.initializers.get(initializer)
        self.factor = float(factor)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of a shape."""
        return self.factor * self.initializer(shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"initializer": keras.initializers.serialize(self.initializer), "factor": self.factor}
