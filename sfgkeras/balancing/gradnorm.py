"""Gradient normalisation: weights learned so that all tasks train at similar rates (Chen et al. 2018)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights
from sfgkeras.errors import Problem
from sfgkeras.settings import setting

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class GradNorm(Balancing):
    """`sum_t f_t L_t`, with `f` learned so that `|d f_t L_t / dW|` goes to `G r_t^alpha`, and summing to `T`.

    `W` is the kernel of the last layer that tasks share, `G` the mean of these norms, and `r_t` the relative inverse
    training rate: `L_t / L_t(0)` by its mean over the tasks (Chen et al. 2018, equations 1 and 2). The sum of the
    distances from these goals is divided by `G`, so that `lr` means the same whatever the losses' units.

    Attributes:
        weights: Initial `f` by task, up to a common factor; 1 for those that are not named.
        alpha: How strongly tasks that train slowly are pulled along.
        lr: Learning rate of the weights.
        layer: Pattern of the name of `W`; empty for the last kernel that tasks share.
    """

    name: ClassVar[str] = "gradnorm"
    summary: ClassVar[str] = "weights learned so that all tasks train at similar rates (Chen et al. 2018)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}
    compares: ClassVar[str] = "gradients"
    needs_shared: ClassVar[bool] = True
    needs_positive_weights: ClassVar[bool] = True

    weights: Mapping[str, float] = field(default_factory=dict)
    alpha: float = setting(1.5, "How strongly tasks that train slowly are pulled along, the paper's alpha.", ge=0)
    lr: float = setting(0.025, "Learning rate of the weights.", gt=0)
    layer: str = setting(
        "",
        "Regular expression that the name of the kernel matches whose gradients are compared; empty for the last one "
        "that the losses of all tasks depend on.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.layer)
        except re.error as error:
            raise Problem(f"is no regular expression ({error})", key="layer", value=self.layer) from error

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum with learned weights.

        Raises:
            ValueError: If a weight is 0: it would stay.
        """
        from sfgkeras.balancing.gradnorm_balancer import GradNormBalancer

        weights = given_weights(self.weights, tasks)
        for task, weight in weights.items():
            if not weight > 0:
                raise ValueError(
                    f"weights: {weight!r} of task {task!r} must be above 0: balancing = gradnorm learns it"
                )
        return GradNormBalancer(weights, self.alpha, self.lr, self.layer)
