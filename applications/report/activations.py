"""Activation maps of a trained network's filters on slices of its subjects."""

from collections.abc import Sequence

import numpy as np

from sfgkeras.analysis.activation_maps import ActivationMaps, choose_maps
from sfgkeras.applications.report.network_slices import open_network_slices
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError
from sfgkeras.reporter import Reporter


def collect_activations(
    config: Config, reporter: Reporter, slices: Sequence[tuple[str, int]] | None = None
) -> ActivationMaps | None:
    """Runs the trained network on slices and chooses the filters of lowest and highest entropy of every group.

    Args:
        config: The configuration of a run that has a saved state.
        reporter: Shows progress.
        slices: Subject ids and slice numbers; see `open_network_slices`.

    Returns:
        The maps; None where the network has no grouping probabilities.

    Raises:
        ConfigError: If a subject is unknown or has no such slice.
        DataError: If there is no saved state, or the images cannot be read.
    """
    from sfgkeras.networks import filter_activations

    opened = open_network_slices(config, reporter, slices)
    network = opened.network
    if not network.groupings():
        return None
    probabilities = network.grouping_probabilities()
    shown: list[np.ndarray] = []
    titles: list[str] = []
    maps: dict[str, list[np.ndarray]] = {name: [] for name in probabilities}
    with reporter.stage("activation maps", len(opened.slices)) as stage:
        for slice_ in opened:
            shown.append(slice_.image)
            titles.append(slice_.title)
            for layer, values in filter_activations(network, slice_.window[None]).items():
                maps[layer].append(np.stack([slice_.show(one) for one in np.moveaxis(values[0], -1, 0)], axis=-1))
            stage.advance(1, slice_.title)
    same = {image.shape for image in shown}
    if len(same) > 1:
        raise ConfigError(f"slices of one size are needed, these have {sorted(same)}; name slices of one subject")
    activations = {layer: np.stack(found) for layer, found in maps.items()}
    groups = (*opened.session.tasks, "shared")
    return choose_maps(activations, probabilities, np.stack(shown), titles, groups, opened.iteration)
