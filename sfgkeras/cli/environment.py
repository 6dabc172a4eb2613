"""What a process is told before any library is loaded: to keep quiet, and to be what the command line needs."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from sfgkeras.errors import ConfigError
from sfgkeras.extras import missing_packages, pip_command

NEEDED = {"KERAS_BACKEND": "tensorflow", "MPLBACKEND": "agg"}
"""Variables that the command line sets whatever they were: it trains with TensorFlow, and draws into files."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "NONE", "PYTHONWARNINGS": "ignore"}
"""Variables that keep libraries quiet, in this process and in those that it starts. Fatal errors are said still."""


@contextlib.contextmanager
def settled(debug: bool) -> Iterator[list[str]]:
    """Sets the environment while the block runs, and silences warnings and logs of Python libraries.

    Args:
        debug: Whether libraries may say what they like, as far as the user's own environment lets them.

    Yields:
        What the user should know: variables that are not followed.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    told = []
    if backend != "tensorflow":
        told.append(f"KERAS_BACKEND = {backend!r} is not followed: the command line runs on TensorFlow")
    values = NEEDED if debug else NEEDED | QUIET
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    level = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
                logging.disable(logging.CRITICAL)
            yield told
    finally:
        logging.disable(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def load_keras() -> None:
    """Imports TensorFlow and Keras, and puts Keras back to float32 and channels last.

    A run's settings stand in its INI file, so that it is the same on every machine, whatever `keras.json` says.

    Raises:
        ConfigError: If TensorFlow is missing, or `keras.json` cannot be used.
    """
    if missing_packages("tensorflow"):
        raise ConfigError(
            f"TensorFlow is not installed, which this command needs: {pip_command('tensorflow')} (the networks, "
            "layers and losses also work on JAX and PyTorch, in Python)"
        )
    try:
        import keras
        import tensorflow  # noqa: F401  # a lazy module until now
    except (AssertionError, ValueError) as error:
        # Keras reads the file while it is imported, and asserts what it finds there.
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        raise ConfigError(f"{home / 'keras.json'}: Keras cannot use it ({error!r}); correct or remove it") from error
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
