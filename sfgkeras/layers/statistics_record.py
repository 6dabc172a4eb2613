"""Remembers for which weights the normalisation statistics of a network or a layer were measured."""

from typing import Any

import numpy as np
from keras import ops

KEY = "statistics_measured_at"


class StatisticsRecord:
    """What an object that counts its training calls in `iteration` knows about its normalisation statistics.

    Attributes:
        statistics_measured_at: The iteration that they were measured at; None where an old file does not say.
    """

    iteration: Any
    statistics_measured_at: int | None = 0

    def record_statistics(self) -> None:
        """Notes that the statistics belong to the weights of now; `networks.recalibrate` does it."""
        self.statistics_measured_at = self._training_calls()

    @property
    def statistics_fit(self) -> bool:
        """Whether nothing was trained since the normalisation statistics were measured.

        After training the moving averages are there, which lag behind the weights and mix the masks of many draws.
        """
        return self.statistics_measured_at in (None, self._training_calls())

    def _training_calls(self) -> int:
        return int(ops.convert_to_numpy(self.iteration))

    def _save_record(self, store: Any) -> None:
        if self.statistics_measured_at is not None:
            store[KEY] = np.asarray(self.statistics_measured_at, "int64")

    def _load_record(self, store: Any) -> None:
        self.statistics_measured_at = int(np.asarray(store[KEY])) if KEY in store.keys() else None  # noqa: SIM118
