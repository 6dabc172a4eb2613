"""The sum of the losses with weights that are learned as uncertainties."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from sfgkeras.balancing.balancer import Balancer
from sfgkeras.balancing.uncertainty import LIKELIHOODS


class UncertaintyBalancer(Balancer):
    """`sum_t c_t exp(-2 log s_t) L_t + log s_t`, with a trained `log s_t` for each task (Kendall et al. 2018).

    Args:
        log_sigma: Initial `log s` by task, in the order of the tasks.
        likelihoods: `categorical` or `gaussian` of tasks whose loss shall not tell.
    """

    is_learned = True

    def __init__(self, log_sigma: Mapping[str, float], likelihoods: Mapping[str, str] | None = None) -> None:
        super().__init__(tuple(log_sigma), name="uncertainty")
        self._given = dict(likelihoods or {})
        self.log_sigma = {
            task: self.add_weight(
                shape=(), initializer=keras.initializers.Constant(value), name=f"log_sigma_{number}_{plain_name(task)}"
            )
            for number, (task, value) in enumerate(log_sigma.items())
        }

    def task_weights(self) -> dict[str, Any]:
        """Returns `c_t / s_t^2` by task.

        Raises:
            ValueError: If nobody has said what a task's loss is the logarithm of.
        """
        return {
            task: self._factor(task) * ops.exp(-2.0 * ops.convert_to_tensor(log_sigma))
            for task, log_sigma in self.log_sigma.items()
        }

    def terms(self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns `c L / s^2 + log s` of each task, of those of its samples that have a label."""
        terms = super().terms(losses, presence)
        for task in terms:
            penalty = ops.convert_to_tensor(self.log_sigma[task])
            terms[task] = terms[task] + (penalty if presence is None else penalty * presence[task])
        return terms

    def _factor(self, task: str) -> float:
        likelihood = self._given.get(task) or self.likelihoods.get(task)
        if likelihood is None:
            raise ValueError(
                f"balancing = uncertainty does not know whether the loss of task {task!r} is categorical or gaussian; "
                "compile the network with its losses, or name it: Uncertainty(likelihood={...})"
            )
        return LIKELIHOODS[likelihood]


def plain_name(task: str) -> str:
    """Returns a task's name as part of a variable's: letters, digits and `_` only."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in task)
