"""Fine-tuning: variables restored by name from another run, variables kept fixed by pattern."""

import re
from typing import Any

from sfgkeras.applications.checkpoints import CheckpointFolder, read_state
from sfgkeras.applications.reporter import Reporter
from sfgkeras.errors import ConfigError, DataError


def restore_variables(network: Any, training: Any, reporter: Reporter) -> None:
    """Restores the network's variables whose name matches `vars_to_restore` from `restore_from`.

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
        state = folder.read(-1)
    else:
        state = read_state(path)
    saved = {key.split("/", 2)[2]: value for key, value in state.arrays.items() if key.startswith("network/")}
    pattern = re.compile(training.vars_to_restore or "")
    count = 0
    for variable in network.variables:
        value = saved.get(variable.path)
        if value is None or not pattern.search(variable.path):
            continue
        if tuple(variable.shape) != value.shape:
            raise ConfigError(
                f"[TRAINING] vars_to_restore = {training.vars_to_restore!r}: {variable.path} has shape "
                f"{value.shape} in {path} and {tuple(variable.shape)} here; exclude it with the pattern"
            )
        variable.assign(value)
        count += 1
    if count == 0:
        example = next(iter(saved), "none")
        raise DataError(
            f"{path}: no variable matches [TRAINING] vars_to_restore = {training.vars_to_restore!r}; "
            f"the first one there is {example!r}"
        )
    reporter.message(f"restored {count} of {len(network.variables)} variables from {path}")


def freeze_variables(network: Any, pattern: str | None, reporter: Reporter) -> None:
    """Keeps the variables whose name matches a regular expression fixed.

    Raises:
        ConfigError: If it matches none, or all.
    """
    if not pattern:
        return
    matching = [variable for variable in network.trainable_variables if re.search(pattern, variable.path)]
    remaining = len(network.trainable_variables) - len(matching)
    if not matching or not remaining:
        names = ", ".join(variable.path for variable in network.trainable_variables[:3])
        raise ConfigError(
            f"[TRAINING] vars_to_freeze = {pattern!r} matches {'no' if not matching else 'every'} "
            f"trainable variable; their names are like {names}"
        )
    for variable in matching:
        variable.trainable = False
    reporter.message(f"frozen: {len(matching)} variables, {remaining} are trained")
