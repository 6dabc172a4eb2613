"""Feature maps of several trained runs on the same slices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sfgkeras.analysis.feature_maps import FeatureMaps, mean_map
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.report.network_slices import NetworkSlices, Slice, open_network_slices
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError
from sfgkeras.reporter import Reporter


def collect_features(
    configs: Mapping[str, Config], reporter: Reporter, slices: Sequence[Slice] | None = None
) -> FeatureMaps:
    """Runs several trained networks on the same slices and keeps the mean over the features of every stage.

    The stages are those on the way down of an encoder, which all sharing mechanisms and networks have; the features are
    those behind normalisation and activation.

    Args:
        configs: Configurations of runs that have a saved state, by the name of each.
        reporter: Shows progress.
        slices: Subject ids and slice numbers; see `open_network_slices`. None takes those that are usual in the first
            run.

    Raises:
        ConfigError: If a subject is unknown or has no such slice, or the runs see it at different sizes.
        DataError: If there is no saved state, or the images cannot be read.
    """
    maps: dict[str, dict[str, tuple[np.ndarray, ...]]] = {}
    images: list[np.ndarray] = []
    titles: list[str] = []
    with reporter.stage("feature maps", len(configs)) as stage:
        for name, config in configs.items():
            opened = open_network_slices(config, reporter, slices)
            slices = opened.slices
            shown = [slice_.image for slice_ in opened]
            if not maps:
                images, titles = shown, [slice_.title for slice_ in opened]
            elif [image.shape for image in shown] != [image.shape for image in images]:
                raise ConfigError(
                    f"{name} sees slices of {_sizes(shown)} pixels and {next(iter(configs))} of {_sizes(images)}; "
                    "compare runs with the same images, pixdim and spatial_window_size"
                )
            maps[name] = _stage_maps(opened)
            stage.advance(1, name)
    return FeatureMaps(tuple(configs), tuple(titles), tuple(images), maps)


def _stage_maps(opened: NetworkSlices) -> dict[str, tuple[np.ndarray, ...]]:
    from sfgkeras.networks import stage_features

    found: dict[str, list[np.ndarray]] = {}
    for slice_ in opened:
        for stage, features in stage_features(opened.network, slice_.window[None]).items():
            found.setdefault(stage, []).append(slice_.show(mean_map(features[0])))
    return {stage: tuple(images) for stage, images in found.items()}


def _sizes(images: Sequence[np.ndarray]) -> str:
    return " and ".join(sorted({" x ".join(map(str, image.shape)) for image in images}))


def name_runs(config: Config, others: Sequence[str]) -> dict[str, Config]:
    """Reads the configurations of other runs, and names them so that they differ from each other and from this one.

    Args:
        config: The configuration of this run.
        others: Model folders or INI files; see `read_trained_run`.

    Raises:
        ConfigError: If there is no such run, or a run is given twice.
    """
    found = [config, *(read_trained_run(name).config for name in others)]
    names = short_run_names([each.system.model_dir for each in found])
    return dict(zip(names[1:], found[1:], strict=True))


def short_run_names(folders: Sequence[Path]) -> list[str]:
    """Returns names of model folders that differ: the last part of each, with as many parents as that takes."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(len(own) for own in parts) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError(f"{folders[0]} is given twice; name folders of different runs")
