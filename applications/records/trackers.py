"""The curves of a training in MLflow and Weights & Biases, by their own libraries; a resumed run goes on in its own."""

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sfgkeras.applications.records.files import write_text
from sfgkeras.errors import DataError, lookup

Settings = Mapping[str, Any]


class Tracker(Protocol):
    """Takes scalars, as the log of TensorBoard does."""

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes one scalar per value, named `prefix/name`."""

    def flush(self) -> None:
        """Puts everything where it belongs."""

    def close(self) -> None:
        """Ends, when the training has."""


class MlflowTracker:
    """A run of MLflow.

    Args:
        folder: Folder of the run's logs.
        name: Name of the experiment.
        settings: What the run was started with, by name.

    Raises:
        DataError: If MLflow fails, here or later.
    """

    def __init__(self, folder: Path, name: str, settings: Settings) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._problem = MlflowException
        here = folder / "mlflow"
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            # The library has stopped to keep up folders of files; it says so, and still reads and writes them.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        with _saying("MLflow", self._problem):
            self._client = MlflowClient(tracking_uri=uri or here.resolve().as_uri())
            self._run = _kept(folder / "mlflow.json", lambda: self._begin(name, settings))
            self._client.set_terminated(self._run, "RUNNING")

    def _begin(self, name: str, settings: Settings) -> str:
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        run = str(self._client.create_run(experiment).info.run_id)
        for key, value in settings.items():
            self._client.log_param(run, key, value)
        return run

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes one metric per value."""
        with _saying("MLflow", self._problem):
            for key, value in values.items():
                self._client.log_metric(self._run, f"{prefix}/{key}", float(value), step=iteration)

    def flush(self) -> None:
        """Does nothing: every value is there at once."""

    def close(self) -> None:
        """Marks the run as finished."""
        with _saying("MLflow", self._problem):
            self._client.set_terminated(self._run, "FINISHED")


class WandbTracker:
    """A run of Weights & Biases; arguments and errors are those of `MlflowTracker`."""

    def __init__(self, folder: Path, name: str, settings: Settings) -> None:
        import wandb

        self._problem = wandb.Error
        identity = _kept(folder / "wandb.json", lambda: uuid.uuid4().hex[:12])
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        logging.getLogger("wandb").setLevel(logging.ERROR)
        with _saying("Weights & Biases", self._problem):
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or name,
                dir=str(folder),
                id=identity,
                resume="allow",
                mode=mode,
                config=dict(settings),
                settings=wandb.Settings(silent=True, console="off"),
            )

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes one value each, with the iteration that they lie against."""
        scalars = {f"{prefix}/{key}": float(value) for key, value in values.items()}
        with _saying("Weights & Biases", self._problem):
            self._run.log({**scalars, "iteration": iteration})

    def flush(self) -> None:
        """Does nothing: a process of the library's own writes."""

    def close(self) -> None:
        """Waits until everything is written or sent."""
        with _saying("Weights & Biases", self._problem):
            self._run.finish()


_KINDS: Mapping[str, Callable[[Path, str, Settings], Tracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}


def open_tracker(kind: str, folder: Path, name: str, settings: Settings) -> Tracker:
    """Opens a tracker by its name in `TRACKERS`; arguments are those of `MlflowTracker`."""
    return lookup(_KINDS, kind, "tracker")(folder, name, settings)


def _kept(path: Path, begin: Callable[[], str]) -> str:
    """Returns what identifies the run, as an earlier start has kept it, or that of one that begins now."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        found = begin()
        write_text(path, json.dumps({"run": found}) + "\n")
        return found


@contextlib.contextmanager
def _saying(what: str, problem: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (problem, OSError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{what} cannot be written ({why}); see to it and start again, the training is resumed; or leave it out of "
            "[TRAINING] trackers"
        ) from error
