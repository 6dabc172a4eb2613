"""Whether one task's loss drowns the others."""

from collections.abc import Mapping

from sfgkeras.config import Config
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.tasks import TASK_TYPES

FACTOR = 100.0


def describe_imbalance(config: Config, losses: Mapping[str, float]) -> str:
    """Says so if a task's weighed loss is a hundred times another's, with what to set; empty if none is.

    Args:
        config: The configuration.
        losses: Loss of each task in the first iteration, not weighed.
    """
    if config.training.balancing != "fixed":
        return ""
    weighed = {name: config.tasks[name].weight * loss for name, loss in losses.items() if config.tasks[name].weight > 0}
    weighed = {name: loss for name, loss in weighed.items() if loss > 0}
    if len(weighed) < 2:
        return ""
    large, small = max(weighed, key=weighed.__getitem__), min(weighed, key=weighed.__getitem__)
    ratio = weighed[large] / weighed[small]
    if ratio < FACTOR:
        return ""
    others = [name for name in BALANCING if name != "fixed"]
    remedies = [f"weight = {config.tasks[large].weight / ratio:.1g} in [TASK {large}]"]
    if TASK_TYPES[config.tasks[large].type].has_scale and config.sources[config.tasks[large].target].scaling == "none":
        remedies.append(f"a smaller scale there (now {config.tasks[large].scale:g})")
    remedies += [f"[TRAINING] balancing = {others[0]}"] if others else []
    return (
        f"the loss of task {large!r} is {losses[large]:.3g} in the first iteration and that of {small!r} "
        f"{losses[small]:.3g}: with balancing = fixed the first counts {ratio:.0f} times as much, and little is "
        f"learned of the other; set {' or '.join(remedies)}"
    )
