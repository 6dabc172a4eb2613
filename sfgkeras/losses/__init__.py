"""Losses that take spatial masks, and the tables that name them in INI files."""

from collections.abc import Mapping

from sfgkeras.losses.base import TaskLoss
from sfgkeras.losses.classification import ClassificationCrossEntropy
from sfgkeras.losses.regression import (
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
}

SEGMENTATION_LOSSES: Mapping[str, type[TaskLoss]] = {
    "dice": DiceLoss,
    "crossentropy": CrossEntropy,
    "dicecrossentropy": DiceCrossEntropy,
    "diceplusxent": DiceCrossEntropy,
}

CLASSIFICATION_LOSSES: Mapping[str, type[TaskLoss]] = {"crossentropy": ClassificationCrossEntropy}

__all__ = [
    "CLASSIFICATION_LOSSES",
    "REGRESSION_LOSSES",
    "SEGMENTATION_LOSSES",
    "ClassificationCrossEntropy",
    "CrossEntropy",
    "DiceCrossEntropy",
    "DiceLoss",
    "Huber",
    "L2Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "SmoothL1",
    "TaskLoss",
]
