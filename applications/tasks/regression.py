"""Regression: a continuous map (synthetic CT, ADC, clean image) or one number per subject."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS, evaluate_regression, evaluations_of
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.quantities import QuantityMap, QuantityTask
from sfgkeras.applications.tasks.targets import ImageTarget, VoxelTarget
from sfgkeras.data.scaling import convert_in_blocks
from sfgkeras.preprocessing.ct import AIR, HU_PER_UNIT, USUAL_CLIP, scale_ct, unscale_ct
from sfgkeras.quoting import split_list


class RegressionTask(QuantityTask):
    """Predicts `scale * target`, whatever the kind of target."""

    @property
    def num_outputs(self) -> int:
        """One channel."""
        return 1

    @property
    def unit(self) -> str:
        """What the INI file says."""
        return self.settings.unit

    @property
    def units_learned(self) -> tuple[float, float]:
        """Factor and offset from the target, times `scale`, to its unit in files."""
        return 1.0, 0.0

    @property
    def metric_arguments(self) -> Mapping[str, Mapping[str, Any]]:
        """Errors are those of the target, not of what the network learns."""
        from sfgkeras.metrics import METRICS

        errors = [name for name, metric in METRICS["regression"].items() if metric.has_target_unit]
        return {name: {"factor": self.spread_factor} for name in errors}

    def describe_output(self) -> dict[str, Any]:
        """Adds how the output becomes the target's own quantity: `multiply * output + add`."""
        factor, offset = self.units_learned
        return super().describe_output() | {
            "activation": self.settings.output_activation,
            "unit": self.unit or f"as [{self.source}]",
            "multiply": factor / self.settings.scale,
            "add": offset,
        }

    @property
    def spread_factor(self) -> float:
        """Undoes the factors of what is learned; a spread has no offset."""
        return self.units_learned[0] / abs(self.settings.scale)


class MapRegression(RegressionTask, QuantityMap, VoxelTarget):
    """Predicts a map; a target with `scaling = ct` is learned as CT/1024 + 1 and written in HU."""

    @property
    def target_kind(self) -> str:
        """`map`."""
        return "map"

    @property
    def unit(self) -> str:
        """`HU` with `scaling = ct`, else what the INI file says."""
        return "HU" if self.is_ct else self.settings.unit

    @property
    def units_learned(self) -> tuple[float, float]:
        """1024 and -1024 with `scaling = ct`."""
        return (HU_PER_UNIT, -HU_PER_UNIT) if self.is_ct else (1.0, 0.0)

    @property
    def outside_value(self) -> float:
        """Air for a CT, for 0 HU is water."""
        return AIR if self.is_ct else 0.0

    @property
    def is_ct(self) -> bool:
        """Whether the target is a CT in Hounsfield units, learned as CT/1024 + 1."""
        return self.source_settings.scaling == "ct"

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Scales HU where asked and multiplies by `scale`."""
        values = scale_ct(volume) if self.is_ct else np.asarray(volume, np.float32)
        return values * np.float32(self.settings.scale)

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Undoes `prepare_map`, then resamples."""
        values = convert_in_blocks(self._in_own_units, aggregated[..., 0])
        return {"": np.asarray(resample(values, order, fill), np.float32)}

    def _in_own_units(self, learned: np.ndarray) -> np.ndarray:
        values = learned / np.float32(self.settings.scale)
        return unscale_ct(values) if self.is_ct else values

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures the covered voxels, and those within each intensity bound; HU are clipped as in training."""
        if self.is_ct:
            truth = np.clip(truth, *USUAL_CLIP)
        return super().evaluate_map(truth, prediction, valid, spacing, evaluation, masks)


class ValueRegression(RegressionTask, ImageTarget):
    """Predicts one number per subject, such as an age; or a few, such as the angles of a pose, one per `attribute`."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns of the target, where there are several."""
        columns = tuple(split_list(str(self.settings.attribute)))
        return columns if len(columns) > 1 else ()

    @property
    def num_outputs(self) -> int:
        """One channel for each number."""
        return max(1, len(self.parts))

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation of each number."""
        return Moments(allocate, per_channel=True)

    def describe_output(self) -> dict[str, Any]:
        """Adds what the channels are, where there are several."""
        described = super().describe_output()
        return described | {"values": list(self.parts)} if self.parts else described

    @property
    def target_kind(self) -> str:
        """`value`."""
        return "value"

    def prepare_value(self, *texts: str) -> np.ndarray:
        """Multiplies by `scale`."""
        return np.atleast_1d(self.read_value(*texts) * self.settings.scale).astype(np.float32)

    def finish_value(self, outputs: np.ndarray) -> dict[str, float]:
        """Undoes `prepare_value`."""
        numbers = np.asarray(outputs, np.float64) / self.settings.scale
        return dict(zip(self.columns, numbers.tolist(), strict=True))

    def finish_value_spread(self, spread: Mapping[str, Any]) -> dict[str, float]:
        """Returns the standard deviation of each number in the target's unit."""
        return {
            f"{column}{ending}": float(value) * self.spread_factor
            for ending, values in spread.items()
            for column, value in zip(self.columns, np.atleast_1d(values), strict=True)
        }

    def evaluate_values(self, truth: np.ndarray, prediction: np.ndarray, evaluation: Any) -> list[dict[str, Any]]:
        """Measures all subjects, and those whose true value lies within each intensity bound; each number by itself."""
        names = self.measures(evaluation.evaluations)
        if names is None:
            names = [name for name in evaluations_of("regression") if EVALUATIONS[name].usual]
        # One number has no structure.
        names = [name for name in names if EVALUATIONS[name].needs != "similarity"]
        if not self.parts:
            return evaluate_regression(truth, prediction, names, evaluation.intensity_bounds)
        return [
            {"label": part, **row}
            for part, true, found in zip(self.parts, truth.T, prediction.T, strict=True)
            for row in evaluate_regression(true, found, names, evaluation.intensity_bounds)
        ]

    def score_subjects(self, truth: np.ndarray, prediction: np.ndarray) -> Mapping[str, np.ndarray]:
        """Returns the error of every subject; none where there are several numbers, each of which has its own."""
        return {} if self.parts else {"mae": np.abs(truth - prediction)}
