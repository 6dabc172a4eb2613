"""The sum of the losses with weights that are drawn at every step."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from sfgkeras.balancing.balancer import OverDevices
from sfgkeras.balancing.gradients import on_one_device
from sfgkeras.balancing.weighing_balancer import WeighingBalancer


class RandomWeightsBalancer(WeighingBalancer):
    """Factors `T softmax(z)` of standard normal numbers; those of the next step are drawn at the end of a step.

    Args:
        weights: `w_t` by task, in the order of the tasks.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights, name="random")
        self.normals = self.add_weight(
            shape=(len(self.tasks),),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="normals",
        )
        self.draws = keras.random.SeedGenerator(0)
        self.set_seed(0)

    def set_seed(self, seed: int) -> None:
        """Draws from this seed from now on, the numbers of the next step too."""
        word, first = np.random.SeedSequence([seed, len(self.tasks)]).spawn(2)
        self.draws.state.assign([int(word.generate_state(1)[0]) >> 1, 0])
        self.normals.assign(np.random.default_rng(first).normal(size=len(self.tasks)).astype("float32"))

    def factors(self) -> Any:
        """Returns `T softmax(z)`."""
        return self.shared_out(self.normals.value)

    def take_note(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        over_devices: OverDevices = on_one_device,
    ) -> None:
        """Draws the numbers of the next step, the same on every device."""
        self.normals.assign(keras.random.normal((len(self.tasks),), dtype="float32", seed=self.draws))
