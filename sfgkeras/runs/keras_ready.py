"""Whether this process can train: TensorFlow is installed, and Keras runs on it as the INI files mean it."""

from collections.abc import Callable

from sfgkeras.errors import ConfigError
from sfgkeras.extras import require_extra


def require_tensorflow(what: str) -> None:
    """Imports Keras, and refuses to go on where it is not what runs from INI files need.

    Args:
        what: Who needs it, for the message: `sfgkeras.train`.

    Raises:
        ConfigError: If TensorFlow is not installed, or Keras runs on another backend, with other floats, or with
            channels first.
    """
    require_extra("tensorflow", what)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"{what} needs Keras on TensorFlow, and here it runs on {keras.backend.backend()}; set "
            "KERAS_BACKEND=tensorflow before Keras is first imported (networks and layers work on all backends)"
        )
    floats, layout = keras.config.floatx(), keras.config.image_data_format()
    if (floats, layout) != ("float32", "channels_last"):
        raise ConfigError(
            f"{what} needs Keras' float32 and channels_last, and it is set to {floats} and {layout}; call "
            'keras.config.set_floatx("float32") and keras.config.set_image_data_format("channels_last")'
        )


def before_network(what: str) -> Callable[[], None]:
    """Returns `require_tensorflow` for what may turn out to need no network."""
    return lambda: require_tensorflow(what)
