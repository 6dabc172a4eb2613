"""A baseline of the paper: masks drawn from probabilities that are not trained (supplement, section 1.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sfgkeras.sharing.sfg import SFG


@dataclass(frozen=True)
class ConstantP(SFG):
    """Masks drawn at every step from probabilities that never change; by default all groups are equally probable.

    Attributes:
        learn_grouping: False, and no setting: there is nothing to learn.
        entropy_decay: Without effect, as nothing is trained that would have an entropy.
        cost_weight: 0, and no setting, likewise.
    """

    name: ClassVar[str] = "constant_p"
    summary: ClassVar[str] = "filter groups drawn from probabilities that are not trained"

    learn_grouping: bool = field(default=False, init=False)
    entropy_decay: float = 1e-5
    cost_weight: float = field(default=0.0, init=False)

    def probabilities_of(self, groups: Sequence[int]) -> Any:
        """Returns the given probabilities, or equal ones; see `SFG.probabilities_of`."""
        equal = (1.0 / len(groups),) * len(groups)
        return equal if self.initial_probabilities is None else super().probabilities_of(groups)
