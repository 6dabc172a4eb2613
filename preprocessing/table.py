"""The table of steps: their functions and settings, names and aliases, and steps of the user's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sfgkeras.classes import is_class_path, load_class
from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.bias_field import BiasFieldSettings, bias_field_step
from sfgkeras.preprocessing.clipping import ClipSettings, clip_step
from sfgkeras.preprocessing.conversion import ConvertSettings, convert_step
from sfgkeras.preprocessing.cropping import CropSettings, crop_step
from sfgkeras.preprocessing.ct import CtSettings, ct_step
from sfgkeras.preprocessing.fitted import VALUES_FILE, FittedFile, FittedValues
from sfgkeras.preprocessing.histogram import HistogramSettings, fit_histogram, histogram_percentiles, histogram_step
from sfgkeras.preprocessing.landmark_file import LANDMARK_FILE
from sfgkeras.preprocessing.orientation import ReorientSettings, reorient_step
from sfgkeras.preprocessing.padding import PadSettings, pad_step
from sfgkeras.preprocessing.registration import RegisterSettings, register_step
from sfgkeras.preprocessing.resample_steps import (
    ResampleLikeSettings,
    ResampleSettings,
    resample_like_step,
    resample_step,
)
from sfgkeras.preprocessing.steps import OwnFittedStep, OwnStep
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.preprocessing.whitening import WhitenSettings, whiten_step
from sfgkeras.settings import described


@dataclass(frozen=True)
class Step:
    """One line of the table of steps.

    Attributes:
        apply: Function of volume, settings and context.
        settings: Its frozen dataclass of settings; every field has a default.
        summary: What it does, for help texts.
        changes: `values` on the same grid; `grid`, with every voxel at its place in space; or `place`, which moves the
            image in space.
        measure: Numbers of one training subject as the steps before leave it, `(n,)`, from volume and settings; for a
            step that is fitted on the cohort, whose settings are `FittedSettings`.
        fit: What `apply` then finds in its context, from all measurements and the settings.
        file: How that is kept; one file serves all later runs.
    """

    apply: Callable[[Volume, Any, StepContext], Volume]
    settings: type
    summary: str
    changes: Literal["values", "grid", "place"] = "values"
    measure: Callable[[Volume, Any], np.ndarray] | None = None
    fit: Callable[[Sequence[np.ndarray], Any], Any] | None = None
    file: FittedFile = VALUES_FILE


STEPS: Mapping[str, Step] = {
    "bias_field": Step(bias_field_step, BiasFieldSettings, "N4 bias field correction of MR"),
    "histogram": Step(
        histogram_step,
        HistogramSettings,
        "Nyul histogram standardisation of MR",
        measure=histogram_percentiles,
        fit=fit_histogram,
        file=LANDMARK_FILE,
    ),
    "ct": Step(ct_step, CtSettings, "CT / 1024 + 1, clipped"),
    "resample": Step(resample_step, ResampleSettings, "to a given spacing", "grid"),
    "resample_like": Step(resample_like_step, ResampleLikeSettings, "onto another image's grid", "grid"),
    "register": Step(register_step, RegisterSettings, "rigid, affine or SyN registration to another image", "place"),
    "whiten": Step(whiten_step, WhitenSettings, "zero mean, unit variance"),
    "clip": Step(clip_step, ClipSettings, "intensities between limits or percentiles"),
    "crop_foreground": Step(crop_step, CropSettings, "the box around the foreground", "grid"),
    "pad": Step(pad_step, PadSettings, "a rim of voxels around the volume", "grid"),
    "reorient": Step(reorient_step, ReorientSettings, "axes permuted and flipped", "grid"),
    "convert": Step(convert_step, ConvertSettings, "data type of the output"),
}
ALIASES: Mapping[str, str] = {
    "n4": "bias_field",
    "nyul": "histogram",
    "whitening": "whiten",
    "crop": "crop_foreground",
    "registration": "register",
    "isotropic": "resample",
}
# Steps after which intensities have no logarithm any more.


def step_name(name: str) -> str | None:
    """Returns the name of a step in the table for a name or alias, None if there is none.

    The path of a class, `my.module.Class`, is its own name.

    Examples:
        >>> step_name("n4"), step_name("nothing")
        ('bias_field', None)
    """
    if is_class_path(name.strip()):
        return name.strip()
    name = name.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in STEPS else None


def short_name(step: str) -> str:
    """Returns what settings and files of a step begin with: its name, or that of the class in lower case.

    Examples:
        >>> short_name("my.module.Smooth")
        'smooth'
    """
    return step.rpartition(".")[2].lower()


def find_step(name: str) -> Step:
    """Returns a step of the table, or one of the user's own by the path of its class.

    Raises:
        ConfigError: If the class cannot be imported, or is no `OwnStep`.

    Examples:
        >>> find_step("ct").changes
        'values'
    """
    if name in STEPS:
        return STEPS[name]
    own = load_class(name, "step", OwnStep)
    summary = (own.__doc__ or name).strip().partition("\n")[0]
    line = Step(_apply_own, own, summary, own.changes)  # type: ignore[attr-defined]
    return replace(line, measure=_measure_own, fit=_fit_own) if issubclass(own, OwnFittedStep) else line


def _apply_own(volume: Volume, settings: OwnStep, context: StepContext) -> Volume:
    return settings.apply(volume, context)


def _measure_own(volume: Volume, settings: OwnFittedStep) -> np.ndarray:
    return settings.measure(volume)


def _fit_own(measured: Sequence[np.ndarray], settings: OwnFittedStep) -> FittedValues:
    return FittedValues(settings.fit(measured))


def own_problem(name: str) -> str:
    """Says why a step of the user's own cannot be used, or returns an empty string."""
    try:
        setting_names(name)
    except (ConfigError, TypeError) as error:
        return str(error)
    return ""


def setting_prefixes(names: Sequence[str]) -> dict[str, str]:
    """Returns what settings of steps begin with, with the name of the step."""
    own = {short_name(name): name for name in names if is_class_path(name)}
    return {**{name: name for name in STEPS}, **ALIASES, **own}


def all_keys() -> list[str]:
    """Returns every setting of the table, `<step>_<setting>`."""
    return [f"{name}_{each}" for name in STEPS for each in setting_names(name)]


def known_keys(steps: Sequence[str] = ()) -> list[str]:
    """Returns every setting, `<step>_<setting>`, under the names and the aliases of the steps.

    Args:
        steps: Steps of a run, of which those of the user's own have settings too.
    """
    own = {short_name(name): name for name in steps if is_class_path(name) and not own_problem(name)}
    aliases = [f"{alias}_{each}" for alias, name in ALIASES.items() for each in setting_names(name)]
    return [*all_keys(), *aliases, *(f"{short}_{each}" for short, name in own.items() for each in setting_names(name))]


def setting_names(step: str) -> list[str]:
    """Returns the names of a step's settings.

    Examples:
        >>> setting_names("whiten")
        ['foreground', 'threshold']
    """
    return list(described(find_step(step).settings))
