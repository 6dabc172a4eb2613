"""The sharing mechanisms by name: which trunk a network gets, and where its masks come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import keras

from sfgkeras.networks.allocation import allocate_evenly, allocate_once, allocate_shared
from sfgkeras.networks.cross_stitch_trunk import CrossStitchTrunk
from sfgkeras.networks.grouped_trunk import GroupedTrunk
from sfgkeras.networks.masked_trunk import MaskedTrunk
from sfgkeras.networks.stages import Stage, TrunkSettings


def build_sfg(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds the trunk of the paper: masks sampled from learned probabilities."""
    return MaskedTrunk(stages, settings, name="trunk")


def build_constant_p(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk whose masks are sampled from probabilities that are not trained, by default uniform."""
    uniform = (1.0 / settings.num_groups,) * settings.num_groups
    chosen = uniform if settings.initial_probabilities is None else settings.initial_probabilities
    return MaskedTrunk(stages, replace(settings, initial_probabilities=chosen, learn_grouping=False), name="trunk")


def build_hard_sharing(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk in which all filters are shared: an ordinary network with one head per task."""
    return _build_grouped(stages, settings, allocate_shared(stages, settings.num_tasks))


def build_single_task(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk in which every task has an equal part of the filters: independent narrow networks."""
    return _build_grouped(stages, settings, allocate_evenly(stages, settings.num_tasks))


def build_constant_mask(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk with one allocation: a given one, or one drawn by fractions (default: equal ones)."""
    allocation = settings.allocation or allocate_once(
        stages, settings.num_tasks, settings.fractions, settings.next_seed()
    )
    return _build_grouped(stages, settings, allocation)


def build_cross_stitch(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk of narrow networks, one per task, joined by cross-stitch units (Misra et al. 2016)."""
    return CrossStitchTrunk(stages, settings, name="trunk")


def _build_grouped(
    stages: Sequence[Stage], settings: TrunkSettings, allocation: Sequence[Sequence[int]]
) -> keras.layers.Layer:
    return GroupedTrunk(stages, replace(settings, allocation=allocation), name="trunk")


SHARING: Mapping[str, Callable[[Sequence[Stage], TrunkSettings], keras.layers.Layer]] = {
    "sfg": build_sfg,
    "constant_p": build_constant_p,
    "constant_mask": build_constant_mask,
    "hard_sharing": build_hard_sharing,
    "single_task": build_single_task,
    "cross_stitch": build_cross_stitch,
}
