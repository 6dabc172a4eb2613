"""Fully adaptive sharing: a thin trunk of all tasks that splits while it is trained (Lu et al. 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.errors import Problem
from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing, plain

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk

THRESHOLDS: Mapping[str, str] = {
    "median": "half of the samples are easy for every task, whatever the shape of its errors",
    "mean": "easy is what lies below the mean, as in the paper",
}
"""What the error of a sample is compared with, to say whether the sample is easy for a task."""

FIRST, LAST = 0.2, 0.6
"""The fractions of a training between which stages are split, where nothing is said."""


@dataclass(frozen=True)
class FullyAdaptive(Sharing):
    """All tasks begin in one thin trunk; its stages split one after the other, from the last one down.

    Attributes:
        start_width: Filters of every branch of a stage, as a fraction of the stage's.
        split_at: When stages are split, from the last one down.
        complexity_weight: What another branch costs.
        threshold: What makes a sample easy.
        samples: Training samples by which affinity is measured.
    """

    name: ClassVar[str] = "fully_adaptive"
    summary: ClassVar[str] = "one thin trunk that splits into branches while it is trained"
    shaping: ClassVar[tuple[str, ...]] = ("start_width", "samples")

    start_width: float | None = setting(
        None,
        "Filters of a branch as a fraction of the stage's; empty for one over the number of tasks, so that a stage has "
        "as many as `single_task` where every task has its own branch.",
        gt=0,
        le=1,
    )
    split_at: tuple[float, ...] = setting(
        (),
        "When stages are split, the last one first: fractions of the training below 1, iterations from 1 on; several "
        "stages at a time where there are fewer numbers than stages. Empty: one by one from 0.2 to 0.6 of it.",
        gt=0,
    )
    complexity_weight: float = setting(
        0.2,
        "What another branch costs, beside 1 less the affinity of tasks that stay together; twice as much for each "
        "pooling behind the stage.",
        ge=0,
    )
    threshold: str = setting("median", "Below which of its errors a sample is easy for a task.", choices=THRESHOLDS)
    samples: int = setting(256, "The last training samples before a split, by which affinity is measured.", ge=2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "split_at", plain(self.split_at))
        super().__post_init__()
        moments = self.split_at
        is_rising = list(moments) == sorted(set(moments)) and len({moment < 1 for moment in moments}) < 2
        if not is_rising or any(moment >= 1 and not float(moment).is_integer() for moment in moments):
            raise Problem(
                "is no rising list of fractions below 1, or of iterations from 1 on",
                "write e.g. 0.2, 0.5 or 200, 500",
                key="split_at",
                value=moments,
            )

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk with room for a branch of every task at every stage, of which one is used.

        Raises:
            Problem: If there are more moments than stages.
        """
        from sfgkeras.sharing.adaptive_trunk import AdaptiveTrunk

        trunk = AdaptiveTrunk(architecture, settings, self, name="trunk")
        self.moments(trunk.num_shared, 0, 2**31 - 1)  # refuses more moments than stages
        return trunk

    def moments(self, num_stages: int, first: int, last: int) -> list[tuple[int, int]]:
        """Returns the stages that may be split, from the last one down, each with its iteration.

        Args:
            num_stages: How many stages tasks share.
            first: The iteration at which the training begins.
            last: That at which it ends.

        Raises:
            Problem: If there are more moments than stages, or one lies behind the end.

        Examples:
            >>> FullyAdaptive(split_at=(0.25, 0.5)).moments(3, 0, 100)
            [(25, 2), (25, 1), (50, 0)]
        """
        import numpy as np

        usual = tuple(np.linspace(FIRST, LAST, num_stages)) if num_stages else ()
        moments = self.split_at or usual
        if len(moments) > num_stages:
            raise Problem(
                f"has {len(moments)} moments for {num_stages} stages that tasks share",
                "leave some out",
                key="split_at",
                value=self.split_at,
            )
        if moments and moments[-1] > last and moments[-1] >= 1:
            raise Problem(
                f"has a moment behind the last iteration, {last}",
                "write smaller ones, or fractions of the training",
                key="split_at",
                value=self.split_at,
            )
        iterations = [
            max(1, round(first + moment * (last - first))) if moment < 1 else int(moment) for moment in moments
        ]
        stages = np.array_split(np.arange(num_stages)[::-1], max(1, len(moments)))
        return [(iteration, int(stage)) for iteration, part in zip(iterations, stages, strict=False) for stage in part]
