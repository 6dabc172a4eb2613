"""Makes Keras find this package's classes in saved files, without loading Keras or the classes before they are needed.

Keras only knows a class whose module has been imported. Importing all of them with the package would load Keras and
its backend for every `sfgkeras --help`. So Keras is told of stand-ins, which import the class when a file asks for it;
where Keras is not loaded yet, that is done right after somebody loads it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

REGISTERED: Mapping[str, tuple[str, ...]] = {
    "sfgkeras.layers.activation": ("MaskedActivation", "PReLU"),
    "sfgkeras.layers.adversary": ("Adversary",),
    "sfgkeras.layers.block": ("Block",),
    "sfgkeras.layers.convolution": ("Convolution",),
    "sfgkeras.layers.cross_stitch": ("CrossStitch",),
    "sfgkeras.layers.draws": ("BatchDropout",),
    "sfgkeras.layers.filter_grouping": ("EntropyBonus", "FilterGrouping"),
    "sfgkeras.layers.layer_mixture": ("LayerMixture",),
    "sfgkeras.layers.normalization": ("StreamNormalization",),
    "sfgkeras.layers.scaled_initializer": ("ScaledInitializer",),
    "sfgkeras.layers.residual": ("ResidualBlock", "ResidualSection"),
    "sfgkeras.layers.sfg_convolution": ("SFGConv2D", "SFGConv3D"),
    "sfgkeras.layers.subspace_stitch": ("SubspaceOrthogonality", "SubspaceStitch"),
    "sfgkeras.losses.agreement": ("KappaLoss",),
    "sfgkeras.losses.binary": ("BinaryCrossEntropy",),
    "sfgkeras.losses.boxes": ("GeneralisedOverlapLoss",),
    "sfgkeras.losses.classification": ("ClassificationCrossEntropy",),
    "sfgkeras.losses.landmarks": ("ConstrainedHeatMapLoss", "HeatMapCrossEntropy", "HeatMapLoss", "LandmarkLoss"),
    "sfgkeras.losses.motion": ("WarpingLoss",),
    "sfgkeras.losses.overlap": (
        "GeneralisedDiceLoss",
        "SensitivitySpecificityLoss",
        "SquaredDiceLoss",
        "TverskyLoss",
        "WassersteinDiceLoss",
    ),
    "sfgkeras.losses.regression": (
        "CosineLoss",
        "Huber",
        "L2Loss",
        "MeanAbsoluteError",
        "MeanSquaredError",
        "RootMeanSquaredError",
        "SmoothL1",
    ),
    "sfgkeras.losses.segmentation": ("CrossEntropy", "DiceCrossEntropy", "DiceLoss"),
    "sfgkeras.losses.surfaces": ("NormalLoss", "ScaleInvariantLoss"),
    "sfgkeras.metrics.boxes": ("BoxOverlap",),
    "sfgkeras.metrics.labels": ("Accuracy", "Dice", "Jaccard"),
    "sfgkeras.metrics.landmarks": ("RadialError",),
    "sfgkeras.metrics.motion": ("WarpedMeanAbsoluteError",),
    "sfgkeras.metrics.regression": ("MeanAbsoluteError", "RootMeanSquaredError"),
    "sfgkeras.metrics.surfaces": ("AngleWithin", "DepthWithin", "LogDepthError", "MeanAngle", "RelativeDepthError"),
    "sfgkeras.networks.flat_adam": ("FlatAdam",),
    "sfgkeras.networks.highresnet": ("HighResNet",),
    "sfgkeras.networks.mgcn": ("MGCN",),
    "sfgkeras.networks.hyperface": ("HyperFace",),
    "sfgkeras.networks.playout": ("PlayoutNet",),
    "sfgkeras.networks.qin": ("QinNet",),
    "sfgkeras.networks.unet": ("UNet",),
    "sfgkeras.networks.vgg": ("VGG11",),
    "sfgkeras.networks.ynet": ("YNet",),
}
"""Classes that saved files may hold, by their module."""


class StandIn:
    """Stands in Keras' table for a class whose module is not imported yet.

    Args:
        module: Name of the module.
        name: Name of the class.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self.__name__ = name

    def resolve(self) -> Any:
        """Returns the class; importing its module also puts it into Keras' table, in this object's place."""
        return getattr(importlib.import_module(self._module), self.__name__)

    def from_config(self, config: dict[str, Any], **kwargs: Any) -> Any:
        """Builds an object of the class."""
        return self.resolve().from_config(config, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Builds an object of the class, where Keras calls it by its name."""
        return self.resolve()(*args, **kwargs)


def registered_name(module: str, name: str) -> str:
    """Returns the name that a class is registered with: the metrics have a package of their own."""
    package = "sfgkeras.metrics" if module.startswith("sfgkeras.metrics.") else "sfgkeras"
    return f"{package}>{name}"


def tell_keras(keras: ModuleType) -> None:
    """Puts a stand-in for every class that is not imported yet into Keras' table."""
    known = keras.saving.get_custom_objects()
    for module, names in REGISTERED.items():
        for name in names:
            known.setdefault(registered_name(module, name), StandIn(module, name))


class _AfterKeras(MetaPathFinder):
    """Lets others find Keras, once, and calls `tell_keras` after it has been loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        loader: Any = None if spec is None else spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            tell_keras(module)

        loader.exec_module = exec_module
        return spec


def register() -> None:
    """Makes Keras know the classes of this package: now, or as soon as it is loaded."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "saving"):
        tell_keras(keras)
    else:
        sys.meta_path.insert(0, _AfterKeras())
