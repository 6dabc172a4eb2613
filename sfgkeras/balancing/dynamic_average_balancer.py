"""The sum of the losses with factors by how fast each of them falls."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from sfgkeras.balancing.balancer import OverDevices
from sfgkeras.balancing.gradients import on_one_device
from sfgkeras.balancing.weighing_balancer import WeighingBalancer, stacked


class DynamicAverageBalancer(WeighingBalancer):
    """Factors `T softmax(r / tau)` of the ratios `r` of the last two averages (Liu et al. 2019, equation 7).

    Losses are averaged over the samples with a label. A task that had no label in an interval, or whose average before
    was not positive, keeps its ratio.

    Args:
        weights: `w_t` by task, in the order of the tasks.
        temperature: `tau`.
        interval: Steps of an average.
    """

    is_learned = True

    def __init__(self, weights: Mapping[str, float], temperature: float, interval: int) -> None:
        super().__init__(weights, name="dynamic_average")
        self._temperature = temperature
        self._interval = interval
        self.ratios = self._state("ratios", 1.0)
        self.last = self._state("last", 0.0)
        self.sums = self._state("sums", 0.0)
        self.counts = self._state("counts", 0.0)
        self.steps = self._state("steps", 0.0, shape=())

    def _state(self, name: str, value: float, shape: tuple[int, ...] | None = None) -> Any:
        return self.add_weight(
            shape=(len(self.tasks),) if shape is None else shape,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def factors(self) -> Any:
        """Returns `T softmax(r / tau)`."""
        return self.shared_out(ops.convert_to_tensor(self.ratios) / self._temperature)

    def take_note(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        over_devices: OverDevices = on_one_device,
    ) -> None:
        """Adds to the averages; at the end of an interval the ratios become those of the last two."""
        absent = 0.0 if presence is not None else 1.0
        noted = ops.stack([stacked(losses, self.tasks, 0.0), stacked(presence, self.tasks, absent)])
        loss, count = ops.unstack(over_devices(noted), num=2)
        # A step whose loss is no number changes nothing: where float16 overflows, it is not taken.
        is_number = ops.isfinite(loss)
        sums = ops.convert_to_tensor(self.sums) + ops.where(is_number, loss, 0.0)
        counts = ops.convert_to_tensor(self.counts) + ops.where(is_number, count, 0.0)
        steps = ops.convert_to_tensor(self.steps) + 1.0
        is_due = steps >= self._interval
        last, ratios = ops.convert_to_tensor(self.last), ops.convert_to_tensor(self.ratios)
        average = ops.divide_no_nan(sums, counts)
        known = ops.logical_and(counts > 0.0, last > 0.0)
        ratio = ops.where(known, ops.divide_no_nan(average, last), ratios)
        self.ratios.assign(ops.where(is_due, ratio, ratios))
        self.last.assign(ops.where(ops.logical_and(is_due, counts > 0.0), average, last))
        self.sums.assign(ops.where(is_due, 0.0, sums))
        self.counts.assign(ops.where(is_due, 0.0, counts))
        self.steps.assign(ops.where(is_due, 0.0, steps))
