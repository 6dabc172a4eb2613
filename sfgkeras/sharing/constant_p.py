"""A baseline of the paper: masks drawn from probabilities that are not trained (supplement, section 1.4)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sfgkeras.sharing.sfg import SFG


@dataclass(frozen=True)
class ConstantP(SFG):
    """Masks drawn at every step from probabilities that never change; by default all groups are equally probable.

    Attributes:
        learn_grouping: False, and no setting: there is nothing to learn.
    """

    name: ClassVar[str] = "constant_p"
    summary: ClassVar[str] = "filter groups drawn from probabilities that are not trained"

    learn_grouping: bool = field(default=False, init=False)

    def probabilities_of(self, num_tasks: int) -> Any:
        """Returns the given probabilities, or equal ones."""
        num_groups = num_tasks + 1
        equal = (1.0 / num_groups,) * num_groups
        return equal if self.initial_probabilities is None else self.initial_probabilities
