"""Monte Carlo inference: several passes with masks drawn anew, inside one process and with one load."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sfgkeras.analysis.uncertainty import Allocate, PassStatistics
from sfgkeras.applications.inference.predictor import Region
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config

Outputs = Mapping[str, np.ndarray]
Spreads = dict[str, dict[str, np.ndarray]]
Slab = tuple[str, Region, np.ndarray]


class Passes:
    """Predicts once, or several times with other masks.

    Pass number k draws the same masks for every window of every subject, so that a volume is predicted by one network
    at a time, and results do not depend on the order of the subjects or on where an earlier call was interrupted.

    Args:
        count: Passes; 0 predicts once, without a spread.
        start: Called with the number of each pass before it.
    """

    def __init__(self, count: int = 0, start: Callable[[int], None] | None = None) -> None:
        self.count = count
        self._start = start

    def predict(self, tasks: Mapping[str, Task], predict: Callable[[], Outputs]) -> tuple[Outputs, Spreads]:
        """Runs the passes over outputs that fit into memory.

        Args:
            tasks: The tasks by name.
            predict: One pass; activated outputs by task.

        Returns:
            Mean outputs by task, and by task the maps of uncertainty by their ending (empty for one pass).
        """
        statistics = {name: task.build_statistics() for name, task in tasks.items()}
        for _ in self._numbers():
            outputs = predict()
            if self.count == 0:
                return outputs, {name: {} for name in tasks}
            for name, collected in statistics.items():
                collected.add(outputs[name])
        means = {name: collected.mean for name, collected in statistics.items()}
        return means, {name: collected.spread() for name, collected in statistics.items()}

    def slabs(
        self, tasks: Mapping[str, Task], predict: Callable[[], Iterable[Slab]], allocate: Allocate
    ) -> Iterator[tuple[str, Region, np.ndarray, dict[str, np.ndarray]]]:
        """Runs the passes over volumes that come slab by slab, the same slabs in every pass.

        Args:
            tasks: The tasks by name.
            predict: One pass; task, place and activated outputs of every slab, `(x, y, z, channels)`.
            allocate: Makes the arrays that are kept between passes: several volumes, all in all.

        Yields:
            Task, place, mean outputs, and the maps of uncertainty by their ending (none for one pass).
        """
        statistics: dict[tuple[str, tuple[int, ...]], PassStatistics] = {}
        for number in self._numbers():
            for name, region, outputs in predict():
                if self.count == 0:
                    yield name, region, outputs, {}
                    continue
                place = (name, tuple(part.start or 0 for part in region))
                if number == 0:
                    statistics[place] = tasks[name].build_statistics(allocate)
                statistics[place].add(outputs)
                if number == self.count - 1:
                    collected = statistics.pop(place)
                    yield name, region, collected.mean, collected.spread()

    def _numbers(self) -> Iterator[int]:
        for number in range(max(self.count, 1)):
            if self._start is not None:
                self._start(number)
            yield number


ONE_PASS = Passes()


def build_passes(config: Config, network: Any, predictor: Any, *more: tuple[Any, Any]) -> Passes:
    """Builds the passes of `[INFERENCE] monte_carlo`; with `masks = sample` draws follow from the seed alone.

    Args:
        config: The configuration.
        network: The network that predicts.
        predictor: Runs it; is told to repeat the draws of a pass for every batch.
        *more: Further networks that predict with it, each with what runs it.
    """
    members = ((network, predictor), *more)
    if config.inference.masks != "sample" or not any(each.groupings() for each, _ in members):
        return ONE_PASS

    def start(number: int) -> None:
        for each, runs in members:
            runs.before_call = functools.partial(each.seed_inference, number)

    return Passes(config.inference.monte_carlo, start)
