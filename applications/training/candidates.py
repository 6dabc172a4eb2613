"""The candidates of `schedule = auto`: their groups, and the configuration that each of them trains by."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.network import build_network, fixed_groups
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError
from sfgkeras.reporter import Reporter
from sfgkeras.sharing.sfg import WAY_OF_LOGITS
from sfgkeras.tables.candidates import CANDIDATES

Groups = Sequence[Sequence[int]]
"""The group of every filter of every stage, shared last."""


def candidate_groups(
    config: Config, tasks: Mapping[str, Task], image_channels: int, names: Sequence[str], reporter: Reporter
) -> dict[str, Groups | None]:
    """Returns the groups of each candidate by its name; None where they are learned.

    A candidate that the network is too narrow for is left out, and said. One task has nothing to share: `shared`, which
    is the plain network, stands for all.

    Raises:
        ConfigError: If none is left.
    """
    if len(config.tasks) == 1:
        names = ("shared",)
    architecture = build_network(config, tasks, image_channels).trunk.architecture
    found: dict[str, Groups | None] = {}
    for name in names:
        try:
            found[name] = CANDIDATES[name].load()(architecture)
        except ValueError as error:
            reporter.message(f"schedule = auto: candidate {name} is left out: {error}")
    if not found:
        raise ConfigError(
            f"{config.path}: [TRAINING] auto_candidates = {', '.join(names)}: none can be had; add shared"
        )
    return found


def candidate_config(config: Config, groups: Groups | None, folder: Path, steps: int) -> Config:
    """Returns the configuration of a candidate's training: the run's own, with its groups, in a folder of its own.

    It neither validates nor stops early, and keeps no averages of its weights: the run does that once it has settled.

    Args:
        config: The run's configuration.
        groups: Its groups; None where they are learned.
        folder: Its own folder.
        steps: For how many iterations groups are learned.
    """
    training: dict[str, Any] = {
        "validation_every_n": -1,
        "validation_every_epochs": 0,
        "patience": 0,
        "restore_best": False,
        "best_metric": None,
        "ema_decay": None,
        "trackers": (),
    }
    network: dict[str, Any] = {}
    sharing: Any = config.sharing
    if groups is None:
        sharing = sharing.searching(steps)
        training["grouping_lr"] = config.training.grouping_lr or WAY_OF_LOGITS / steps
    else:
        sharing, network["sharing"] = fixed_groups(config, groups), "constant_mask"
    return replace(
        config,
        system=config.system.model_copy(update={"model_dir": folder}),
        network=config.network.model_copy(update=network),
        training=config.training.model_copy(update=training),
        sharing=sharing,
    )
