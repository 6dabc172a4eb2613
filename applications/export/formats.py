"""The forms in which a hardened network leaves this package: how each is written, and read again as a user would."""

import contextlib
import errno
import functools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.errors import ConfigError, DataError
from sfgkeras.extras import require_extra
from sfgkeras.files import TEMPORARY_SUFFIX, writing_problem

Predict = Callable[[np.ndarray], dict[str, np.ndarray]]
SAVED_MODEL_FILE = "saved_model.pb"


@dataclass(frozen=True)
class ExportFormat:
    """One form.

    Attributes:
        name: Its name on the command line.
        ending: What the name of the file ends with; empty for a folder.
        write: Writes a hardened network to a path that does not exist.
        load: Reads what was written and returns a function from images `(batch, *spatial, channels)` to outputs.
        extra: What it needs besides the packages that are always there; see `sfgkeras.extras`.
        has_prelu: Whether it has an operator for PReLU, which is then faster than a product and a maximum.
    """

    name: str
    ending: str
    write: Callable[[Any, Path], None]
    load: Callable[[Path], Predict]
    extra: str = ""
    has_prelu: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return not self.ending

    def require_packages(self) -> None:
        """Refuses a form whose packages are not installed.

        Raises:
            ConfigError: Names the packages and how to install them.
        """
        if self.extra:
            require_extra(self.extra, f"--format {self.name}")

    def check_output(self, path: Path, overwrite: bool) -> None:
        """Refuses a path that does not fit the form, or that holds something which must stay.

        Raises:
            ConfigError: If the name has another ending.
            DataError: If something is there that is not to be replaced.
        """
        if not self.is_folder and path.suffix != self.ending:
            raise ConfigError(
                f"--output {path}: a file of --format {self.name} is called *{self.ending}; "
                f"write {path.with_suffix(self.ending)}, or choose another --format"
            )
        if not path.exists() and not path.is_symlink():
            return
        is_own = (path / SAVED_MODEL_FILE).is_file() if self.is_folder else path.is_file()
        if not is_own:
            what = "no SavedModel" if self.is_folder else "a folder"
            raise DataError(f"{path} exists and is {what}; choose another --output")
        if not overwrite:
            raise DataError(f"{path} exists; add --overwrite to replace it, or choose another --output")


@contextlib.contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Gives a path of the same name in a temporary folder; what is there at the end takes the place of `path`.

    Writers that want a path, or make a whole folder, become whole-or-nothing by this. If the block fails, nothing is
    left and what was at `path` stays.

    Raises:
        DataError: If it cannot be written.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary / path.name
        _move(temporary / path.name, path, aside=temporary / "replaced")
    except OSError as error:
        raise DataError(writing_problem(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(new: Path, path: Path, aside: Path) -> None:
    """Moves a file or folder to its place; a folder cannot replace one, so the old one is set aside first."""
    if not path.is_dir():
        os.replace(new, path)
        return
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(aside, path)
        raise


def size_on_disk(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def as_arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Copies a network's outputs into NumPy arrays."""
    return {name: np.asarray(value) for name, value in outputs.items()}


def compiled_call(network: Any, image_shape: Sequence[int | None]) -> Predict:
    """Returns a network as one TensorFlow graph from arrays to arrays.

    Args:
        network: Maps images to a dict of outputs.
        image_shape: `(*spatial, channels)`; None is an axis of any length.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec([None, *image_shape], "float32")]
    call = tf.function(functools.partial(network, training=False), signature, autograph=False)
    return lambda images: as_arrays(call(tf.convert_to_tensor(images)))


def _write_keras(network: Any, path: Path) -> None:
    network.save(path)


def _load_keras(path: Path) -> Predict:
    import keras

    network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return compiled_call(network, network.inputs[0].shape[1:])


def _write_saved_model(network: Any, path: Path) -> None:
    import tensorflow as tf

    try:
        network.export(path, format="tf_saved_model", verbose=False)
    except tf.errors.OpError as error:
        # What the file system answered stands somewhere in TensorFlow's own words.
        said = str(error.message)
        codes = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS)
        code = next((code for code in codes if os.strerror(code) in said), errno.EIO)
        raise OSError(code, os.strerror(code) if code != errno.EIO else said.splitlines()[0]) from error


def _load_saved_model(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def predict(images: np.ndarray, keep_alive: Any = loaded) -> dict[str, np.ndarray]:
        return as_arrays(serve(image=tf.convert_to_tensor(images)))

    return predict


def _write_onnx(network: Any, path: Path) -> None:
    from sfgkeras.networks.onnx_export import build_onnx_model

    path.write_bytes(build_onnx_model(network).SerializeToString())


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


FORMATS: Mapping[str, ExportFormat] = {
    "keras": ExportFormat("keras", ".keras", _write_keras, _load_keras),
    "saved_model": ExportFormat("saved_model", "", _write_saved_model, _load_saved_model),
    "onnx": ExportFormat("onnx", ".onnx", _write_onnx, _load_onnx, extra="onnx", has_prelu=True),
}
