"""One batch for each task, and the sum of their gradients (Pinto and Gupta 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class SumOfGradients(Balancing):
    """`sum_t w_t L_t`, where `L_t` is the mean over those samples of the batch that have a label of task `t`.

    So every task has a batch of its own, however rare its labels are; what tasks share gets the sum of their gradients,
    a head its own (Pinto and Gupta 2017, section III-D). Where all samples have all labels it is `fixed`.

    Attributes:
        weights: Factor of the loss by task; 1 for those that are not named.
    """

    name: ClassVar[str] = "sum_of_gradients"
    summary: ClassVar[str] = "every task's mean over its own labelled samples, added up (Pinto and Gupta 2017)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}

    weights: Mapping[str, float] = field(default_factory=dict)

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum."""
        from sfgkeras.balancing.sum_of_gradients_balancer import SumOfGradientsBalancer

        return SumOfGradientsBalancer(given_weights(self.weights, tasks))
