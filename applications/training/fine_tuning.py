"""Fine-tuning: variables restored by name from another run, variables kept fixed by pattern."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.checkpoints import (
    CheckpointFolder,
    predicting_arrays,
    read_state,
    variable_names,
)
from sfgkeras.errors import DataError, Problem
from sfgkeras.reporter import Reporter


def restore_variables(network: Any, training: Any, reporter: Reporter) -> None:
    """Restores the network's variables whose name matches `vars_to_restore` from `restore_from`.

    What a network learns is restored; its iteration, which sets the temperature, and its generators begin anew. A
    network of fully adaptive sharing, which begins thin, starts from the chosen filters of a `hard_sharing` run.

    Args:
        network: Built.
        training: The `[TRAINING]` section; `restore_from` is another run's `model_dir` or one of its checkpoint files.
        reporter: Told how many were restored.

    Raises:
        ConfigError: If the pattern matches nothing, or a shape differs.
        DataError: If there is no checkpoint.
    """
    if training.restore_from is None:
        return
    path = training.restore_from
    if path.is_dir():
        folder = CheckpointFolder(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
        state = folder.read(-1, warn=reporter.warning)
    else:
        state = read_state(path)
    arrays = predicting_arrays(state.arrays)
    saved = {key.split("/", 2)[2]: value for key, value in arrays.items() if key.startswith("network/")}
    if _starts_thin(network, saved, training.vars_to_restore):
        _start_thin(network, saved, path)
        reporter.message(f"thin layers of the filters of {path}, by matching pursuit")
        return
    learned = learned_variables(network)
    shapes = {name: value.shape for name, value in saved.items()}
    taken = list(taken_over(_shapes(learned), shapes, training.vars_to_restore, str(path)))
    for name in taken:
        learned[name].assign(saved[name])
    if not taken:
        example = next(iter(saved), "none")
        raise DataError(
            f"{path}: no variable matches [TRAINING] vars_to_restore = {training.vars_to_restore!r}; "
            f"the first one there is {example!r}"
        )
    reporter.message(f"restored {len(taken)} of {len(learned)} variables from {path}")


def _starts_thin(network: Any, saved: Mapping[str, Any], pattern: str | None) -> bool:
    """Says whether a network of fully adaptive sharing is to be made of a trained one with one trunk for all tasks."""
    from sfgkeras.sharing.adaptive_trunk import AdaptiveTrunk

    if pattern is not None or not isinstance(network.trunk, AdaptiveTrunk) or network.num_tasks == 1:
        return False
    return any("/trunk/convolution_1_shared/" in name for name in saved)


def _start_thin(network: Any, saved: Mapping[str, Any], path: Path) -> None:
    """Starts the layers of a thin network from those of a wide one (Lu et al. 2017, section 3.1).

    Raises:
        Problem: If the other network has other layers.
    """
    from sfgkeras.networks.thinning import start_thin, wide_network

    wide = wide_network(network)
    learned = learned_variables(wide)
    wrong = [name for name, variable in learned.items() if name not in saved or saved[name].shape != variable.shape]
    if wrong:
        found = saved[wrong[0]].shape if wrong[0] in saved else "nothing"
        raise Problem(
            f"has {found} for {wrong[0]}, which has shape {tuple(learned[wrong[0]].shape)} with sharing = hard_sharing "
            "and the rest of this file",
            "start fully_adaptive from a hard_sharing run of the same network, width and tasks",
            key="restore_from",
            value=str(path),
            section="TRAINING",
        )
    for name, variable in learned.items():
        variable.assign(saved[name])
    start_thin(network, wide)


def learned_variables(network: Any) -> dict[str, Any]:
    """Returns what a network learns, by name: what another one can take over."""
    learned = [variable for variable in network.predicting_variables if str(variable.dtype).startswith("float")]
    return dict(zip(variable_names(network, learned), learned, strict=True))


def learned_shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shape of what a network learns, by name."""
    return _shapes(learned_variables(network))


def _shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(variable.shape) for name, variable in variables.items()}


def taken_over(
    own: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]], pattern: str | None, place: str
) -> Iterator[str]:
    """Yields the names of the variables that a network takes over from another one.

    Args:
        own: Shapes of the network's variables by name.
        theirs: Those of the other one.
        pattern: `vars_to_restore`.
        place: Where the other one is, for the message.

    Raises:
        Problem: If a shape differs.
    """
    for name, shape in own.items():
        if name not in theirs or not re.search(pattern or "", name):
            continue
        if shape != theirs[name]:
            raise Problem(
                f"takes {name}, which has shape {theirs[name]} in {place} and {shape} here",
                "exclude it with the pattern",
                key="vars_to_restore",
                value=pattern,
                section="TRAINING",
            )
        yield name


def freeze_variables(network: Any, pattern: str | None, reporter: Reporter) -> None:
    """Keeps the variables whose name matches a regular expression fixed.

    Raises:
        ConfigError: If it matches none, or all.
    """
    if not pattern:
        return
    trainable = network.trainable_variables
    names = variable_names(network, trainable)
    matching = [variable for name, variable in zip(names, trainable, strict=True) if re.search(pattern, name)]
    remaining = len(trainable) - len(matching)
    if not matching or not remaining:
        raise Problem(
            f"matches {'no' if not matching else 'every'} trainable variable",
            f"their names are like {', '.join(names[:3])}",
            key="vars_to_freeze",
            value=pattern,
            section="TRAINING",
        )
    for variable in matching:
        variable.trainable = False
    reporter.message(f"frozen: {len(matching)} variables, {remaining} are trained")
