"""Losses that take spatial masks, and the tables that name them in INI files."""

from collections.abc import Mapping

from sfgkeras.losses.base import TaskLoss
from sfgkeras.losses.binary import BinaryCrossEntropy
from sfgkeras.losses.boxes import GeneralisedOverlapLoss
from sfgkeras.losses.classification import ClassificationCrossEntropy
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

REGRESSION_LOSSES: Mapping[str, type[TaskLoss]] = {
    "rmse": RootMeanSquaredError,
    "mae": MeanAbsoluteError,
    "l1loss": MeanAbsoluteError,
    "mse": MeanSquaredError,
    "l2loss": L2Loss,
    "huber": Huber,
    "smoothl1": SmoothL1,
    "cosine": CosineLoss,
}

SEGMENTATION_LOSSES: Mapping[str, type[TaskLoss]] = {
    "dice": SquaredDiceLoss,
    "dice_ns": DiceLoss,
    "crossentropy": CrossEntropy,
    "dicecrossentropy": DiceCrossEntropy,
    "diceplusxent": DiceCrossEntropy,
    "gdsc": GeneralisedDiceLoss,
    "wgdl": WassersteinDiceLoss,
    "tversky": TverskyLoss,
    "sensspec": SensitivitySpecificityLoss,
}

CLASSIFICATION_LOSSES: Mapping[str, type[TaskLoss]] = {"crossentropy": ClassificationCrossEntropy}

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
    "Huber",
    "L2Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "SensitivitySpecificityLoss",
    "SmoothL1",
    "SquaredDiceLoss",
    "TaskLoss",
    "TverskyLoss",
    "WassersteinDiceLoss",
]
