"""Training states on disk: one compressed NumPy file per saved iteration, readable by any strategy.

A state holds the network's weights, the optimiser's variables, the state of every random generator and a small record
(iteration, best score, ...). It is written under a temporary name, flushed to the disk and then moved, so that a
process killed at any moment leaves either the whole file or none.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.records.settled import Settled, settled_of
from sfgkeras.errors import DataError
from sfgkeras.files import ARCHIVE_DAMAGE, TEMPORARY_SUFFIX, replacing
from sfgkeras.protection import is_protected, refuse_protected

FORMAT = 1
BEST = "best.npz"
AVERAGE = "average"
"""What the keys of averaged weights begin with."""
DEEP = "deep_supervision"
"""What the keys of the heads that are there in training only begin with."""
_NAME = re.compile(r"iteration_(\d+)\.npz")
_GENERATOR = re.compile(r"seed_generator(_\d+)?/")


@dataclass(frozen=True)
class TrainingState:
    """Everything that a resumed run needs to go on as if it had never stopped.

    Attributes:
        arrays: Variables and generator states by key, e.g. `network/0003/conv_1/kernel`.
        record: Plain values: `iteration`, `best_score`, `fingerprint`, ...
    """

    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


def collect_arrays(network: Any, optimizers: Sequence[Any] = ()) -> dict[str, np.ndarray]:
    """Copies the variables of the network and the optimisers and all generator states into NumPy arrays.

    What the balancing rule, adversaries and the heads of deep supervision have learned stands apart: predictions do not
    need it.
    """
    variables = network.predicting_variables
    arrays = _variables("network", variables, variable_names(network, variables))
    learned = network.balancer.lasting_variables
    arrays |= _variables("balancing", learned, [variable.name for variable in learned])
    judges = network.adversary_variables
    arrays |= _variables("adversaries", judges, [variable.path.split("/", 1)[-1] for variable in judges])
    deep = network.deep_variables
    arrays |= _variables(DEEP, deep, [variable.path.split("/", 1)[-1] for variable in deep])
    for number, optimizer in enumerate(optimizers):
        # An optimiser's name counts up within a process; what follows it does not.
        paths = [variable.path.split("/", 1)[-1] for variable in optimizer.variables]
        arrays |= _variables(f"optimizer_{number}", optimizer.variables, paths)
    return arrays | {f"random/{name}": np.asarray(value) for name, value in network.random_state().items()}


def restore_arrays(arrays: Mapping[str, np.ndarray], network: Any, optimizers: Sequence[Any] = ()) -> None:
    """Assigns what `collect_arrays` copied.

    Without optimisers the network is to predict, not to be trained on: averages are its weights then, where the state
    holds any.

    Raises:
        DataError: If a variable is missing or has another shape, which means another network.
    """
    _assign("network", network.predicting_variables, arrays if optimizers else predicting_arrays(arrays))
    if optimizers:
        _assign("balancing", network.balancer.lasting_variables, arrays)
        _assign("adversaries", network.adversary_variables, arrays)
        _assign(DEEP, network.deep_variables, arrays)
    for number, optimizer in enumerate(optimizers):
        _assign(f"optimizer_{number}", optimizer.variables, arrays)
    random = {key.removeprefix("random/"): value for key, value in arrays.items() if key.startswith("random/")}
    network.set_random_state(random)
    network.restored()


def predicting_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of a state with the averaged weights, where there are any, in the place of the last ones."""
    prefix = "network/"
    return {
        key: arrays.get(f"{AVERAGE}/{key.removeprefix(prefix)}", value) if key.startswith(prefix) else value
        for key, value in arrays.items()
    }


def collect_averages(network: Any, averages: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Names averages of a network's variables, given by `id` of these, as `predicting_arrays` looks for them."""
    return {key: averages[id(variable)] for key, variable in _average_keys(network) if id(variable) in averages}


def restore_averages(arrays: Mapping[str, np.ndarray], network: Any, averages: Mapping[int, Any]) -> None:
    """Assigns what `collect_averages` named.

    Raises:
        DataError: If an average is missing.
    """
    for key, variable in _average_keys(network):
        if id(variable) in averages:
            if key not in arrays:
                raise DataError(f"the checkpoint holds averages of weights, but not {key}; begin anew with --restart")
            averages[id(variable)].assign(arrays[key])


def _average_keys(network: Any) -> list[tuple[str, Any]]:
    variables = network.predicting_variables
    names = variable_names(network, variables)
    return [
        (f"{AVERAGE}/{i:04d}/{name}", variable) for i, (name, variable) in enumerate(zip(names, variables, strict=True))
    ]


def write_state(path: Path, state: TrainingState) -> None:
    """Writes a state so that `path` never holds half of one.

    Raises:
        DataError: If the disk is full or the folder cannot be written; the older states stay as they are.
    """
    record = json.dumps({"format": FORMAT, **state.record})
    arrays: dict[str, Any] = {**state.arrays, "record": np.asarray(record)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sum(np.asarray(value).nbytes for value in arrays.values())) as stream:
        np.savez(stream, **arrays)


def read_state(path: Path) -> TrainingState:
    """Reads a state; every array's checksum is verified.

    Raises:
        DataError: If the file is missing, truncated, damaged or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key != "record"}
            record = json.loads(str(file["record"]))
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except ARCHIVE_DAMAGE as error:
        raise DataError(f"{path}: the checkpoint is damaged ({_damage(error)})") from error
    if record.get("format") != FORMAT:
        raise DataError(f"{path}: checkpoint format {record.get('format')!r}, this version reads {FORMAT}")
    return TrainingState(arrays, record)


def read_record(path: Path) -> dict[str, Any]:
    """Reads only the record of a state, not its arrays.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(json.loads(str(file["record"])))
    except ARCHIVE_DAMAGE as error:
        raise DataError(f"{path}: the checkpoint is missing or damaged ({_damage(error)})") from error


def _damage(error: Exception) -> str:
    """Words what NumPy says of a file; of one that is no archive it says how to load it unsafely, which none should."""
    return "it is no NumPy archive" if "pickle" in str(error) else str(error) or type(error).__name__


def read_names(path: Path) -> list[str]:
    """Reads the names of a network's variables in a state, without their values.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return [key.split("/", 2)[2] for key in file.files if key.startswith("network/")]
    except (*ARCHIVE_DAMAGE, IndexError) as error:
        raise DataError(f"{path}: the checkpoint is missing or damaged ({error})") from error


class CheckpointFolder:
    """The saved states of one run.

    Args:
        folder: Where they lie; made when the first one is written.
        max_checkpoints: How many numbered states to keep; the best one is kept besides.

    Attributes:
        before_writing: Called before a state is written; may refuse by an error.
    """

    def __init__(self, folder: Path, max_checkpoints: int = 5) -> None:
        self.folder = folder
        self.max_checkpoints = max_checkpoints
        self.before_writing: Callable[[], None] = _nothing

    def iterations(self) -> list[int]:
        """Returns the saved iterations in rising order."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, iteration: int | str) -> Path:
        """Returns the file of an iteration, or of `"best"`."""
        return self.folder / (BEST if iteration == "best" else f"iteration_{int(iteration):09d}.npz")

    def write(self, state: TrainingState, best: bool = False) -> Path:
        """Writes a state under its iteration, or as the best one, and removes what is too old.

        States of later iterations, which a run that started from `starting_iter` finds, do not count and stay.
        """
        self.before_writing()
        path = self.path("best" if best else state.record["iteration"])
        write_state(path, state)
        if not best:
            earlier = [iteration for iteration in self.iterations() if iteration <= state.record["iteration"]]
            for iteration in earlier[: -self.max_checkpoints]:
                if not is_protected(self.path(iteration)):
                    self.path(iteration).unlink(missing_ok=True)
        return path

    def settled(self) -> Settled | None:
        """Returns the groups that the run has settled on, as its newest readable state tells; None where it has not."""
        for iteration in reversed(self.iterations()):
            try:
                return settled_of(read_record(self.path(iteration)))
            except DataError:
                continue  # whoever reads the state says that it is damaged
        return None

    def read_newest(self) -> tuple[TrainingState | None, list[str]]:
        """Reads the newest state that loads.

        Returns:
            The state, or None where there is none, and one warning per damaged file that was passed over.

        Raises:
            DataError: If there are files but none of them loads.
        """
        warnings: list[str] = []
        for iteration in reversed(self.iterations()):
            try:
                return read_state(self.path(iteration)), warnings
            except DataError as error:
                warnings.append(f"{error}; trying the one before")
        if warnings:
            raise DataError(
                f"{self.folder}: none of {len(warnings)} checkpoints loads (newest: {warnings[0]}); "
                "begin anew with --restart"
            )
        return None, warnings

    def read_continued(self, start: int) -> tuple[TrainingState | None, list[str]]:
        """Reads the newest state that a run wrote which started from the state of iteration `start`.

        Returns:
            The state, or None where such a run has not saved any yet, and one warning per damaged file passed over.
        """
        warnings: list[str] = []
        for iteration in reversed([known for known in self.iterations() if known > start]):
            try:
                if read_record(self.path(iteration)).get("progress", {}).get("started_from") == start:
                    return read_state(self.path(iteration)), warnings
            except DataError as error:
                warnings.append(f"{error}; trying the one before")
        return None, warnings

    def read(
        self,
        iteration: int | str,
        key: str = "[INFERENCE] inference_iter",
        warn: Callable[[str], None] | None = None,
    ) -> TrainingState:
        """Reads the state of an iteration; -1 is the newest, `"best"` the best validation score.

        Args:
            iteration: The iteration.
            key: The setting that names it, for the message.
            warn: Called for each damaged state that is passed over for an older one.

        Raises:
            DataError: If there is no such state; says which there are.
        """
        if iteration == -1:
            state, warnings = self.read_newest()
            for warning in warnings if warn else ():
                warn(warning)  # type: ignore[misc]
            if state is None:
                raise DataError(f"{self.folder}: no checkpoint; train first")
            return state
        if not self.path(iteration).is_file():
            have = ", ".join(str(known) for known in self.iterations()) or "none"
            if self.path("best").is_file():
                have += ", best"
            raise DataError(f"{self.path(iteration)}: no such checkpoint; {key} may be one of: {have}")
        return read_state(self.path(iteration))

    def clear(self) -> None:
        """Removes every state, and what killed writers left.

        Raises:
            DataError: If one of them is what this run starts from (`restore_from`); then none is removed.
        """
        if self.folder.is_dir():
            states = list(self.folder.glob("*.npz"))
            for path in states:
                refuse_protected(path)
            for path in states:
                path.unlink()
            self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Removes temporary files of writers that were killed."""
        if self.folder.is_dir():
            for path in self.folder.glob(f".*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)


def variable_names(network: Any, variables: Sequence[Any]) -> list[str]:
    """Names variables of a network by their paths, the same way in every process.

    Grouping logits, whose paths are alike in all layers, get the name of their layer; generators lose their number.
    """
    layers = {
        id(grouping.grouping_logits): f"{network.name}/trunk/{layer}/"
        for layer, grouping in network.groupings().items()
    }
    return [layers.get(id(variable), "") + _GENERATOR.sub("seed_generator/", variable.path) for variable in variables]


def _nothing() -> None:
    pass


def _variables(prefix: str, variables: Sequence[Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    return {
        f"{prefix}/{i:04d}/{name}": _to_numpy(variable)
        for i, (name, variable) in enumerate(zip(names, variables, strict=True))
    }


def _to_numpy(variable: Any) -> np.ndarray:
    import keras

    value = keras.ops.convert_to_numpy(variable.value)
    # NumPy files have no bfloat16; float32 holds each of its values exactly.
    return value.astype(np.float32) if value.dtype.kind == "V" or value.dtype.name == "bfloat16" else value


def _assign(prefix: str, variables: Any, arrays: Mapping[str, np.ndarray]) -> None:
    saved = {key.split("/")[1]: (key, value) for key, value in arrays.items() if key.startswith(f"{prefix}/")}
    if len(saved) != len(variables):
        raise DataError(
            f"the checkpoint has {len(saved)} {prefix} variables, this {prefix} {len(variables)}: "
            "it was written by another configuration; restore that one or begin anew with --restart"
        )
    for i, variable in enumerate(variables):
        key, value = saved[f"{i:04d}"]
        if tuple(variable.shape) != value.shape:
            raise DataError(
                f"checkpoint variable {key} has shape {value.shape}, this {prefix} needs "
                f"{tuple(variable.shape)}: another configuration; begin anew with --restart"
            )
        variable.assign(value)
