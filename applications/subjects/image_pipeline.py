"""What training does to an image, as a pipeline of the steps of preprocessing, from NiftyNet's keys.

The first image source sets a subject's grid (after `axcodes` and `pixdim`); every other source is brought onto it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.tasks.coverage import fill_value
from sfgkeras.config import Config
from sfgkeras.data.grids import Grid
from sfgkeras.preprocessing.ct import CtSettings
from sfgkeras.preprocessing.foreground import EVERY_VOXEL, describe_rule, foreground_rule
from sfgkeras.preprocessing.histogram import HistogramSettings
from sfgkeras.preprocessing.orientation import ReorientSettings
from sfgkeras.preprocessing.padding import PadSettings
from sfgkeras.preprocessing.pipeline import ConfiguredStep, Pipeline
from sfgkeras.preprocessing.resample_steps import ResampleLikeSettings, ResampleSettings
from sfgkeras.preprocessing.volume import StepContext
from sfgkeras.preprocessing.whitening import WhitenSettings


@dataclass(frozen=True)
class FusedHistogramSettings(HistogramSettings):
    """Settings of the step `histogram` whose foreground several images have found together.

    Attributes:
        fusion: How their foregrounds were joined; empty for an image alone.
    """

    fusion: str = ""

    @property
    def rule(self) -> str:
        """The foreground rule with its fusion, as landmarks remember it."""
        return f"{super().rule}, {self.fusion}" if self.fusion else super().rule


@dataclass(frozen=True)
class RunContext(StepContext):
    """What the steps need of a run: the grid of the first image stands for the reference `[NAME]`.

    Attributes:
        grid: The grid that the network sees, without padding.
    """

    grid: Grid | None = None

    def grid_of(self, place: Path) -> Grid:
        """Returns the grid of the first image."""
        return super().grid_of(place) if self.grid is None else self.grid


def pipeline_of(config: Config, name: str) -> Pipeline:
    """Returns what training does to the images of a source, after `[PREPROCESSING]` where there is one.

    Args:
        config: The configuration.
        name: One of its image sources.
    """
    network, source, first = config.network, config.sources[name], config.image[0]
    pixdim, foreground = config.sources[first].pixdim, measured_rule(config)
    steps: list[tuple[str, Any]] = []
    if source.axcodes:
        steps.append(("reorient", ReorientSettings(source.axcodes)))
    if pixdim and name == first:
        steps.append(("resample", ResampleSettings(pixdim, source.interp_order)))
    elif name != first:
        reference = Path(f"[{first}]")
        steps.append(("resample_like", ResampleLikeSettings(reference, source.interp_order, fill_value(source))))
    if network.normalisation:
        fusion = network.multimod_foreground_type if foreground != EVERY_VOXEL and len(config.image) > 1 else ""
        histogram = FusedHistogramSettings(
            modality=name, cutoff=network.cutoff, norm_type=network.norm_type, foreground=foreground, fusion=fusion
        )
        steps.append(("histogram", histogram))
    if source.scaling == "ct":
        steps.append(("ct", CtSettings(allow_non_hu=True)))
    if network.whitening:
        steps.append(("whiten", WhitenSettings(foreground)))
    if any(network.volume_padding_size):
        steps.append(("pad", PadSettings(tuple(network.volume_padding_size), network.volume_padding_mode)))
    return Pipeline(tuple(ConfiguredStep(step, settings) for step, settings in steps))


def measured_rule(config: Config) -> str:
    """Returns the rule of the voxels in which intensities are measured; `all` for every voxel."""
    network = config.network
    return foreground_rule(network.foreground_type) if network.normalise_foreground_only else EVERY_VOXEL


def describe_measured(config: Config) -> str:
    """Returns the rule with its fusion over several images, as landmarks and saved states remember it."""
    rule = describe_rule(measured_rule(config))
    return (
        rule if rule == EVERY_VOXEL or len(config.image) == 1 else f"{rule}, {config.network.multimod_foreground_type}"
    )


def preparation_text(config: Config, name: str) -> str:
    """Returns what an image went through before its landmarks are fitted, in the words of preprocessing's steps.

    So landmarks of a folder run with these steps serve for training, and the other way round.
    """
    is_preprocessed = config.preprocessing is not None and name in config.preprocessing.sources
    before = build_steps(config) if is_preprocessed else None
    steps = list(before.steps) if before is not None else []
    for step in pipeline_of(config, name).placing().steps:
        # Without pixdim an image lies on the grid of the first one: there is nothing to tell.
        if step.name != "resample_like" or config.sources[config.image[0]].pixdim:
            steps.append(step)
    return Pipeline(tuple(steps)).preparation_text()
