"""Losses that take spatial masks, by the names that INI files have for them (`sfgkeras.tables.losses`)."""

from collections.abc import Mapping

from sfgkeras.losses.agreement import KappaLoss
from sfgkeras.losses.base import TaskLoss
from sfgkeras.losses.binary import BinaryCrossEntropy
from sfgkeras.losses.boxes import GeneralisedOverlapLoss
from sfgkeras.losses.classification import ClassificationCrossEntropy
from sfgkeras.losses.landmarks import ConstrainedHeatMapLoss, HeatMapCrossEntropy, HeatMapLoss, LandmarkLoss
from sfgkeras.losses.motion import WarpingLoss
from sfgkeras.losses.overlap import (
    GeneralisedDiceLoss,
    SensitivitySpecificityLoss,
    SquaredDiceLoss,
    TverskyLoss,
    WassersteinDiceLoss,
)
from sfgkeras.losses.regression import (
    CosineLoss,
    Huber,
    L2Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SmoothL1,
)
from sfgkeras.losses.segmentation import CrossEntropy, DiceCrossEntropy, DiceLoss
from sfgkeras.losses.surfaces import NormalLoss, ScaleInvariantLoss
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.losses import LOSSES

REGRESSION_LOSSES: Mapping[str, type[TaskLoss]] = LoadedTable(LOSSES["regression"])
SEGMENTATION_LOSSES: Mapping[str, type[TaskLoss]] = LoadedTable(LOSSES["segmentation"])
CLASSIFICATION_LOSSES: Mapping[str, type[TaskLoss]] = LoadedTable(LOSSES["classification"])

__all__ = [
    "CLASSIFICATION_LOSSES",
    "REGRESSION_LOSSES",
    "SEGMENTATION_LOSSES",
    "BinaryCrossEntropy",
    "ClassificationCrossEntropy",
    "CosineLoss",
    "CrossEntropy",
    "DiceCrossEntropy",
    "DiceLoss",
    "GeneralisedDiceLoss",
    "GeneralisedOverlapLoss",
    "ConstrainedHeatMapLoss",
    "HeatMapCrossEntropy",
    "HeatMapLoss",
    "Huber",
    "KappaLoss",
    "L2Loss",
    "LandmarkLoss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "NormalLoss",
    "RootMeanSquaredError",
    "ScaleInvariantLoss",
    "SensitivitySpecificityLoss",
    "SmoothL1",
    "SquaredDiceLoss",
    "TaskLoss",
    "TverskyLoss",
    "WarpingLoss",
    "WassersteinDiceLoss",
]
