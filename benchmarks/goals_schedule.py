"""The row of the goals table about the search for groups: what a whole run of `schedule = auto` takes."""

from typing import Any

from goals_networks import TASKS, limit_tensorflow, training_step
from goals_timing import Settings, alternate


def _network(candidate: str) -> Any:
    """Builds the network of a candidate while it is tried."""
    from sfgkeras.networks import HighResNet
    from sfgkeras.sharing import SFG, ConstantMask
    from sfgkeras.tables.candidates import CANDIDATES

    plain = HighResNet(TASKS, "hard_sharing", seed=0)
    groups = CANDIDATES[candidate].load()(plain.trunk.architecture)
    if groups is None:
        return HighResNet(TASKS, SFG(noise=False), seed=0)
    return HighResNet(TASKS, ConstantMask(allocation=groups), seed=0)


def search_against_hard_sharing(settings: Settings) -> dict[str, float]:
    """A run of `auto`, made of the steps of its candidates, against as many steps of hard sharing.

    After each rung those go on that cost most; what was learned is dense by then, and taken for the dearest of the
    others. Compiling, which is done once per candidate however long the run is, and once more where groups are learned,
    is left out.
    """
    from sfgkeras.tables.grouping_schedules import Auto

    limit_tensorflow(settings.threads)
    auto = Auto()
    steps = {name: training_step(_network(name), settings.size, settings.batch) for name in auto.candidates}
    seconds = alternate(steps, settings.repeats)
    fixed = sorted((seconds[name] for name in auto.candidates if name != "learned"), reverse=True)
    standing, taken, total = list(seconds.values()), 0.0, 0.0
    for rung in auto.rungs:
        total += (rung - taken) * sum(standing)
        kept = max(2, -(-len(standing) // 2))
        standing, taken = [fixed[0], *fixed[: kept - 1]], rung
    total += (1.0 - taken) * fixed[0]
    return {"ours": total, "peer": seconds["shared"], "value": total / seconds["shared"]}
