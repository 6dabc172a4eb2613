"""A step from outside the package that learns from the training subjects: z-scores over the cohort."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.preprocessing.fitted import FittedSettings, FittedValues
from sfgkeras.preprocessing.table import Step
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import setting


@dataclass(frozen=True)
class ScoreSettings(FittedSettings):
    """Settings of the step."""

    above: float = setting(0.0, "Voxels above this intensity are measured.")


def measure_score(volume: Volume, settings: ScoreSettings) -> np.ndarray:
    values = volume.array[volume.array > settings.above].astype(np.float64)
    return np.array([values.mean(), np.mean(values**2)])


def fit_score(measured: Sequence[np.ndarray], settings: ScoreSettings) -> FittedValues:
    mean, square = np.mean(measured, axis=0)
    return FittedValues({"mean": float(mean), "deviation": float(np.sqrt(square - mean**2))})


def score_step(volume: Volume, settings: ScoreSettings, context: StepContext) -> Volume:
    numbers = context.fitted.numbers
    return volume.with_array(((volume.array - numbers["mean"]) / numbers["deviation"]).astype(np.float32))


COHORT_SCORE = Step(score_step, ScoreSettings, "z-scores over the cohort", measure=measure_score, fit=fit_score)
