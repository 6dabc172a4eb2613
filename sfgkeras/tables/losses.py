"""The losses that a task may choose, by the type of the task; the first of a type is its default."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sfgkeras.classes import is_class_path, load_class
from sfgkeras.errors import Problem, lookup
from sfgkeras.settings import Settings, own_settings, setting
from sfgkeras.tables.entry import Entry, aliases_of
from sfgkeras.tables.tasks import for_type

if TYPE_CHECKING:
    from sfgkeras.losses.base import TaskLoss


@dataclass(frozen=True)
class LossEntry(Entry["type[TaskLoss]"]):
    """A loss; its class takes the fields of its settings as arguments, and a name.

    Attributes:
        likelihood: What the loss is the negative logarithm of, up to its scale: `gaussian` for quantities,
            `categorical` for classes; balancing by uncertainty depends on it.
        one_logit: Whether it takes one output channel that tells two classes apart, in place of one for each.
        needs_map: Whether it compares neighbouring voxels, so that one value per subject is nothing for it; of
            landmarks, whether it learns heat maps.
        start: Factor on the kernel that gives the outputs, as it is drawn at the start; see `networks.heads.Head`.
        offset: What is added to their bias at the start; see there.
    """

    likelihood: Literal["gaussian", "categorical"] = "gaussian"
    one_logit: bool = False
    needs_map: bool = False
    start: float = 1.0
    offset: float = 0.0


HEAT_MAP_START = 0.01
"""Heat maps are 0 nearly everywhere, which outputs of 1 at the start are hundreds of times as far from as no output.

The gradients of the first iterations would be so large that Adam, which divides by those it has seen, learned little
afterwards, and no other task anything.
"""
MIDDLE = 0.5
COORDINATE_START = 0.01
"""Coordinates, in fractions of the window, begin in its middle, from which landmarks are a fraction away.

All outputs that are off to one side would push all that they read to the other one: where that is thousands of features
laid side by side, the rectified units between are driven below 0 within a few steps of Adam, and never learn again.
"""


@dataclass(frozen=True)
class HuberSettings(Settings):
    """Settings of `huber`."""

    delta: float = setting(1.0, "Residual from which on the loss is linear, in units of what is learned.", gt=0)


@dataclass(frozen=True)
class SmoothL1Settings(Settings):
    """Settings of `smoothl1`."""

    beta: float = setting(1.0, "Residual below which the loss is quadratic, in units of what is learned.", gt=0)


@dataclass(frozen=True)
class DepthSettings(Settings):
    """Settings of `depth`."""

    invariance: float = setting(
        0.5, "How much of an error in the scale of all depths is forgiven, the paper's 1/2; 1 for all.", ge=0, le=1
    )
    gradients: bool = setting(True, "Whether the squared differences between neighbouring residuals count besides.")


@dataclass(frozen=True)
class WarpingSettings(Settings):
    """Settings of `warping`."""

    smoothness: float = setting(
        0.1, "Weight of the differences of the motion, in voxels, between neighbouring voxels.", ge=0
    )


@dataclass(frozen=True)
class DiceSettings(Settings):
    """Settings of `dice_ns` and `dicecrossentropy`."""

    include_background: bool = setting(True, "Whether class 0 counts in the average of Dice over the classes.")


@dataclass(frozen=True)
class WassersteinSettings(Settings):
    """Settings of `wgdl`."""

    distances: tuple[float, ...] = setting(
        (),
        "How far apart labels are, 0-1, 0-2, ..., 1-2, ...; empty for 1 everywhere.",
        gt=0,
    )


@dataclass(frozen=True)
class TverskySettings(Settings):
    """Settings of `tversky`."""

    false_positives: float = setting(0.5, "Weight of false positives, the paper's alpha.", ge=0)
    false_negatives: float = setting(0.5, "Weight of false negatives, the paper's beta.", ge=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.false_positives + self.false_negatives > 0:
            raise Problem("is 0, and false_positives too", "weigh one of them", key="false_negatives", value=0)


@dataclass(frozen=True)
class SensitivitySettings(Settings):
    """Settings of `sensspec`."""

    sensitivity_ratio: float = setting(
        0.05, "Weight of the errors on the label, the paper's r, which suggests 0.01 to 0.1.", ge=0, le=1
    )


@dataclass(frozen=True)
class HeatMapSettings(Settings):
    """Settings of `heat_map` and `heat_map_crossentropy`."""

    sigma: float = setting(2.0, "Standard deviation of the true map of a landmark, in voxels of the window.", gt=0)


@dataclass(frozen=True)
class ConstrainedHeatMapSettings(HeatMapSettings):
    """Settings of `heat_map_coordinates`."""

    weight: float = setting(
        10.0, "What the squared error of the coordinates, in fractions of the window, counts beside the map's.", ge=0
    )
    sharpness: float = setting(
        20.0,
        "What a map is multiplied by before its softmax gives the coordinates; above 10 or so far voxels have no say.",
        gt=0,
    )


@dataclass(frozen=True)
class BinarySettings(Settings):
    """Settings of `binary_crossentropy`."""

    positive_weight: float = setting(
        1.0, "Factor of class 1; where it is rare, the ratio of the others to it makes both count alike.", gt=0
    )


def _rmse() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import RootMeanSquaredError

    return RootMeanSquaredError


def _mae() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import MeanAbsoluteError

    return MeanAbsoluteError


def _mse() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import MeanSquaredError

    return MeanSquaredError


def _l2() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import L2Loss

    return L2Loss


def _huber() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import Huber

    return Huber


def _smooth_l1() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import SmoothL1

    return SmoothL1


def _cosine() -> "type[TaskLoss]":
    from sfgkeras.losses.regression import CosineLoss

    return CosineLoss


def _scale_invariant() -> "type[TaskLoss]":
    from sfgkeras.losses.surfaces import ScaleInvariantLoss

    return ScaleInvariantLoss


def _normals() -> "type[TaskLoss]":
    from sfgkeras.losses.surfaces import NormalLoss

    return NormalLoss


def _dice_cross_entropy() -> "type[TaskLoss]":
    from sfgkeras.losses.segmentation import DiceCrossEntropy

    return DiceCrossEntropy


def _squared_dice() -> "type[TaskLoss]":
    from sfgkeras.losses.overlap import SquaredDiceLoss

    return SquaredDiceLoss


def _dice() -> "type[TaskLoss]":
    from sfgkeras.losses.segmentation import DiceLoss

    return DiceLoss


def _cross_entropy() -> "type[TaskLoss]":
    from sfgkeras.losses.segmentation import CrossEntropy

    return CrossEntropy


def _generalised_dice() -> "type[TaskLoss]":
    from sfgkeras.losses.overlap import GeneralisedDiceLoss

    return GeneralisedDiceLoss


def _wasserstein() -> "type[TaskLoss]":
    from sfgkeras.losses.overlap import WassersteinDiceLoss

    return WassersteinDiceLoss


def _tversky() -> "type[TaskLoss]":
    from sfgkeras.losses.overlap import TverskyLoss

    return TverskyLoss


def _sensitivity() -> "type[TaskLoss]":
    from sfgkeras.losses.overlap import SensitivitySpecificityLoss

    return SensitivitySpecificityLoss


def _kappa() -> "type[TaskLoss]":
    from sfgkeras.losses.agreement import KappaLoss

    return KappaLoss


def _class_cross_entropy() -> "type[TaskLoss]":
    from sfgkeras.losses.classification import ClassificationCrossEntropy

    return ClassificationCrossEntropy


def _binary_cross_entropy() -> "type[TaskLoss]":
    from sfgkeras.losses.binary import BinaryCrossEntropy

    return BinaryCrossEntropy


def _warping() -> "type[TaskLoss]":
    from sfgkeras.losses.motion import WarpingLoss

    return WarpingLoss


def _generalised_overlap() -> "type[TaskLoss]":
    from sfgkeras.losses.boxes import GeneralisedOverlapLoss

    return GeneralisedOverlapLoss


def _heat_map() -> "type[TaskLoss]":
    from sfgkeras.losses.landmarks import HeatMapLoss

    return HeatMapLoss


def _heat_map_cross_entropy() -> "type[TaskLoss]":
    from sfgkeras.losses.landmarks import HeatMapCrossEntropy

    return HeatMapCrossEntropy


def _constrained_heat_map() -> "type[TaskLoss]":
    from sfgkeras.losses.landmarks import ConstrainedHeatMapLoss

    return ConstrainedHeatMapLoss


def _landmark_loss() -> "type[TaskLoss]":
    from sfgkeras.losses.landmarks import LandmarkLoss

    return LandmarkLoss


_BINARY = LossEntry(
    _binary_cross_entropy,
    "cross-entropy of one logit, which tells two classes apart",
    BinarySettings,
    ("bce", "binarycrossentropy"),
    likelihood="categorical",
    one_logit=True,
)

LOSSES: dict[str, dict[str, LossEntry]] = {
    "regression": {
        "rmse": LossEntry(_rmse, "root of the mean squared residual of each sample"),
        "mae": LossEntry(_mae, "mean absolute residual"),
        "mse": LossEntry(_mse, "mean squared residual"),
        "l1loss": LossEntry(_mae, "mean absolute residual, NiftyNet's name"),
        "l2loss": LossEntry(_l2, "half the sum of squared residuals, NiftyNet's L2Loss"),
        "huber": LossEntry(_huber, "quadratic for small residuals, linear for large ones", HuberSettings),
        "smoothl1": LossEntry(_smooth_l1, "Huber's loss divided by where it turns linear", SmoothL1Settings),
        "cosine": LossEntry(_cosine, "one minus the cosine between vectors of channels"),
        "depth": LossEntry(
            _scale_invariant,
            "scale-invariant error of a map of log depth, and of its gradients (Eigen and Fergus 2015)",
            DepthSettings,
            needs_map=True,
        ),
        "normals": LossEntry(_normals, "minus the cosine between normals: -1 at best (Eigen and Fergus 2015)"),
    },
    "segmentation": {
        "dicecrossentropy": LossEntry(
            _dice_cross_entropy,
            "soft Dice plus cross-entropy",
            DiceSettings,
            ("diceplusxent",),
            likelihood="categorical",
        ),
        "dice": LossEntry(
            _squared_dice,
            "Dice with squares in the denominator, NiftyNet's Dice",
            aliases=("dice_dense",),
            likelihood="categorical",
        ),
        "dice_ns": LossEntry(
            _dice, "Dice without squares, NiftyNet's Dice_NS", DiceSettings, ("dice_dense_ns",), "categorical"
        ),
        "crossentropy": LossEntry(
            _cross_entropy,
            "cross-entropy of every voxel",
            aliases=("crossentropy_dense", "ohcrossentropy"),
            likelihood="categorical",
        ),
        "gdsc": LossEntry(
            _generalised_dice, "generalised Dice, which weighs small labels up", likelihood="categorical"
        ),
        "wgdl": LossEntry(
            _wasserstein,
            "Wasserstein Dice, by distances between labels",
            WassersteinSettings,
            likelihood="categorical",
        ),
        "tversky": LossEntry(
            _tversky, "Dice with weights of false positives and negatives", TverskySettings, likelihood="categorical"
        ),
        "sensspec": LossEntry(
            _sensitivity, "squared errors on and off each label", SensitivitySettings, likelihood="categorical"
        ),
        "kappa": LossEntry(
            _kappa, "one minus Cohen's kappa, the agreement beyond chance (Playout 2018)", likelihood="categorical"
        ),
        "binary_crossentropy": _BINARY,
    },
    "classification": {
        "crossentropy": LossEntry(
            _class_cross_entropy,
            "cross-entropy of the class",
            aliases=("crossentropy_dense", "ohcrossentropy"),
            likelihood="categorical",
        ),
        "binary_crossentropy": _BINARY,
    },
    "motion": {
        "warping": LossEntry(
            _warping,
            "squared differences between frames and the first one, moved; rough motion costs (Qin 2018)",
            WarpingSettings,
            needs_map=True,
        ),
    },
    "bounding_box": {
        "mse": LossEntry(_mse, "mean squared residual of the box's numbers"),
        "mae": LossEntry(_mae, "mean absolute residual of the box's numbers"),
        "smoothl1": LossEntry(_smooth_l1, "Huber's loss divided by where it turns linear", SmoothL1Settings),
        "giou": LossEntry(_generalised_overlap, "one minus the generalised intersection over union"),
    },
    "landmarks": {
        "heat_map": LossEntry(
            _heat_map,
            "squared error of a heat map for each landmark",
            HeatMapSettings,
            needs_map=True,
            start=HEAT_MAP_START,
        ),
        "heat_map_coordinates": LossEntry(
            _constrained_heat_map,
            "squared error of a heat map for each landmark, and of the coordinates that it expects (Xu et al. 2018)",
            ConstrainedHeatMapSettings,
            needs_map=True,
            start=HEAT_MAP_START,
        ),
        "heat_map_crossentropy": LossEntry(
            _heat_map_cross_entropy,
            "cross-entropy of every voxel of a heat map for each landmark (DeVries et al. 2014)",
            HeatMapSettings,
            likelihood="categorical",
            needs_map=True,
            start=HEAT_MAP_START,
        ),
        "landmarks": LossEntry(
            _landmark_loss,
            "half the squared distance of the coordinates of visible landmarks (HyperFace)",
            start=COORDINATE_START,
            offset=MIDDLE,
        ),
    },
}


LOSSES["depth"] = {name: LOSSES["regression"][name] for name in ("depth", "mse", "rmse", "mae", "huber", "smoothl1")}
LOSSES["normals"] = {name: LOSSES["regression"][name] for name in ("normals", "cosine", "mse", "mae")}
LOSSES["reconstruction"] = {
    name: LOSSES["regression"][name]
    for name in ("mse", "rmse", "mae", "l1loss", "l2loss", "huber", "smoothl1", "cosine")
}


def find_loss(name: str, task_type: str, what: str) -> LossEntry:
    """Returns a loss of the table, or one of the user's own.

    Args:
        name: Its name, or `my.module.Class`, a Keras loss.
        task_type: The type of the task.
        what: What names it, for the message, e.g. `"loss of task 'ct'"`.

    Raises:
        ConfigError: If there is no such loss, or the class cannot be used.
    """
    if not is_class_path(name):
        return lookup(for_type(LOSSES, task_type), name, f"{task_type} loss")
    import keras

    own = load_class(name, what, keras.losses.Loss)

    def load() -> Any:
        from sfgkeras.losses.keras_losses import task_loss

        return functools.partial(task_loss, own)

    summary = (own.__doc__ or name).strip().partition("\n")[0].rstrip(".")
    usual = for_type(LOSSES, task_type)[default_loss(task_type)].likelihood
    return LossEntry(
        load,
        summary,
        own_settings(own, keras.losses.Loss),
        likelihood=getattr(own, "likelihood", usual),
        needs_map=bool(getattr(own, "needs_map", False)),
        start=float(getattr(own, "start", 1.0)),
        offset=float(getattr(own, "offset", 0.0)),
    )


def is_told_by_map(task_type: str, loss: str) -> bool:
    """Says whether what a source of values gives is told by a map: landmarks, by heat maps.

    Args:
        task_type: The type of a task.
        loss: Its loss; a class of the user's own says so by its attribute `needs_map`.
    """
    if task_type != "landmarks":
        return False
    entry = LOSSES[task_type].get(loss)
    if entry is None and is_class_path(loss):
        entry = find_loss(loss, task_type, f"loss {loss}")
    return entry is not None and entry.needs_map


def default_loss(task_type: str) -> str:
    """Returns the loss of a type of task that names none."""
    return next(iter(for_type(LOSSES, task_type)))


def takes_one_logit(task_type: str, loss: str) -> bool:
    """Says whether a loss of a type of task takes one output channel for two classes; a class of the user's never."""
    entry = for_type(LOSSES, task_type).get(loss)
    return entry is not None and entry.one_logit


def loss_aliases() -> dict[str, str]:
    """Returns the other names of losses, NiftyNet's among them, whatever the type of the task."""
    return {alias: name for entries in LOSSES.values() for alias, name in aliases_of(entries).items()}
