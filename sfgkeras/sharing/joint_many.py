"""Joint many-task networks: tasks at successive depths, and what was learned before is kept (Hashimoto et al. 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.errors import Problem, did_you_mean
from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.architecture.stage import Stage
    from sfgkeras.sharing.trunk import Trunk

TRAINED: Mapping[str, str] = MappingProxyType(
    {
        "together": "every step is one of all tasks",
        "in_turns": "every task alone for a period, the lowest one first, then again from the lowest, as in the paper",
    }
)
"""Which tasks a training step is of."""

FED_AS: tuple[str, ...] = ("softmax", "sigmoid", "linear")
"""What becomes of a task's outputs before they are embedded."""


@dataclass(frozen=True)
class JointMany(Sharing):
    """One trunk for all tasks, whose heads sit at successive depths; what lower tasks use shall not change much.

    Attributes:
        order: Names of the tasks from the lowest to the highest; empty for the order of their heads.
        strength: Weight of the squared distance from the parameters of the last period.
        trained: `together` or `in_turns`.
        period: Training steps of a period.
        feed_outputs: Tasks whose outputs higher ones read.
        embedding: Channels of what is read of each.
    """

    name: ClassVar[str] = "joint_many"
    summary: ClassVar[str] = "one trunk with heads at successive depths, lower tasks protected from higher ones"
    shaping: ClassVar[tuple[str, ...]] = ("order", "feed_outputs", "embedding")

    order: tuple[str, ...] = setting(
        (),
        "The tasks from the lowest to the highest. Heads without a tap are spread evenly over the depth in this order; "
        "empty: in the order of the tasks.",
    )
    strength: float = setting(
        1e-2,
        "Weight in the loss of the squared distance of what lower tasks use from what it was when the period began.",
        ge=0,
    )
    trained: str = setting("together", "Which tasks a training step is of.", choices=TRAINED)
    period: int = setting(
        100, "Training steps of a period: of one task where they are trained in turns, otherwise of all.", ge=1
    )

    feed_outputs: tuple[str, ...] = setting(
        (),
        "Tasks whose outputs are embedded (label embeddings) and fed to the stages behind their heads, beside the "
        "features, e.g. `organs, box: linear`. Behind a colon what becomes of the outputs first: `softmax`, `sigmoid` "
        "or `linear`; without it `softmax` of several outputs, `linear` of one.",
    )
    embedding: int = setting(8, "Channels of the embedded outputs of each task of `feed_outputs`.", ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "order", tuple(self.order))
        object.__setattr__(self, "feed_outputs", tuple(self.feed_outputs))
        for entry in self.feed_outputs:
            _, colon, activation = (part.strip() for part in entry.partition(":"))
            if colon and activation not in FED_AS:
                raise Problem(
                    f"has {activation!r} behind the colon of {entry!r}",
                    f"use {', '.join(FED_AS)}",
                    key="feed_outputs",
                    value=", ".join(self.feed_outputs),
                )

    def place_heads(
        self,
        stages: "Sequence[Stage]",
        kinds: Sequence[str],
        taps: Sequence[str | None],
        task_names: Sequence[str],
    ) -> list[str | None]:
        """Spreads heads without a tap evenly over the depth: of n such heads the k-th reads at k / n of the stages.

        A map takes the first stage from there on that has the image's size, and none comes before the one below it.
        """
        from sfgkeras.architecture.graph import stage_levels, stage_names

        names, last = stage_names(stages), len(stages) - 1
        # A tap that is no stage is refused where all taps are read.
        found: list[int] = [names.index(tap) if tap in names else -1 for tap in taps]
        levels_after = [level + stage.pools for level, stage in zip(stage_levels(stages), stages, strict=True)]
        order, lowest, number = self.places(task_names) or list(range(len(task_names))), 0, 0
        for task in order:
            if taps[task] is None:
                number += 1
                start = max(lowest, -(-number * len(stages) // taps.count(None)) - 1)
                suits = [i for i in range(start, last) if kinds[task] == "vector" or not levels_after[i]]
                found[task] = next(iter(suits), last)
            lowest = max(lowest, found[task])
        return [names[place] if tap is None else tap for place, tap in zip(found, taps, strict=True)]

    def fed_tasks(self, task_names: Sequence[str]) -> dict[int, str]:
        """Returns the tasks of `feed_outputs` by their places, with what becomes of their outputs; "" if not said.

        Raises:
            Problem: If one is no task, or there twice.
        """
        found: dict[int, str] = {}
        for entry in self.feed_outputs:
            name, _, activation = (part.strip() for part in entry.partition(":"))
            known = [place for place, other in enumerate(task_names) if name.lower() == other.lower()]
            if not known or known[0] in found:
                what = f"names {name!r} twice" if known else f"names {name!r}, which is no task"
                hint = did_you_mean(name, task_names, f"the tasks are {', '.join(task_names)}")
                value = ", ".join(self.feed_outputs)
                raise Problem(what, "name it once" if known else hint, key="feed_outputs", value=value)
            found[known[0]] = activation
        return found

    def places(self, task_names: Sequence[str]) -> list[int]:
        """Returns the tasks in `order`; none where it is empty.

        Raises:
            Problem: If it does not name every task once.
        """
        known = {name: place for place, name in enumerate(task_names)}
        known |= {name.lower(): place for name, place in known.items() if name.lower() not in known}
        for name in self.order:
            if name not in known and name.lower() not in known:
                hint = did_you_mean(name, task_names, f"the tasks are {', '.join(task_names)}")
                raise Problem(f"names {name!r}, which is no task", hint, key="order", value=", ".join(self.order))
        found = [known.get(name, known.get(name.lower(), -1)) for name in self.order]
        if found and sorted(found) != list(range(len(task_names))):
            what = f"does not name each of {', '.join(task_names)} once"
            raise Problem(what, "name all tasks, or none", key="order", value=", ".join(self.order))
        return found

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk that all tasks share up to their heads.

        Raises:
            Problem: If a task of `order` reads an earlier stage than the one before it.
        """
        from sfgkeras.sharing.joint_many_trunk import JointManyTrunk

        names, taps = settings.task_names, architecture.taps
        order = self.places(names) or sorted(range(len(taps)), key=lambda task: (taps[task], task))
        for before, task in zip(order, order[1:], strict=False):
            if taps[task] < taps[before]:
                stages = [architecture.names[taps[each]] for each in (before, task)]
                raise Problem(
                    f"puts {names[task]!r} behind {names[before]!r}, but its head reads {stages[1]!r}, before "
                    f"{stages[0]!r}",
                    "change the order, or the taps of these tasks",
                    key="order",
                    value=", ".join(self.order),
                )
        for task in self.fed_tasks(names):
            behind = architecture.stages[taps[task] :]
            if len(behind) == 1 or behind[0].per_task:
                why = "reads the last stage" if len(behind) == 1 else "reads a stage of its own"
                raise Problem(
                    f"names {names[task]!r}, whose head {why}, so that nothing behind can read what it says",
                    "leave it out, or put its head (tap) on an earlier stage that all tasks share",
                    key="feed_outputs",
                    value=", ".join(self.feed_outputs),
                )
        return JointManyTrunk(architecture, settings, self, order, name="trunk")
