"""The sharing mechanisms by name: which trunk a network gets, and where its masks come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import keras

from sfgkeras.networks.masked_trunk import MaskedTrunk
from sfgkeras.networks.stages import Stage, TrunkSettings


def build_sfg(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds the trunk of the paper: masks sampled from learned probabilities."""
    return MaskedTrunk(stages, settings, name="trunk")


def build_constant_p(stages: Sequence[Stage], settings: TrunkSettings) -> keras.layers.Layer:
    """Builds a trunk whose masks are sampled from probabilities that are not trained, by default uniform."""
    uniform = (1.0 / settings.num_groups,) * settings.num_groups
    chosen = uniform if settings.initial_probabilities is None else settings.initial_probabilities
    return MaskedTrunk(
        stages, replace(settings, initial_probabilities=chosen, learn_grouping=False), name="trunk"
    )


SHARING: Mapping[str, Callable[[Sequence[Stage], TrunkSettings], keras.layers.Layer]] = {
    "sfg": build_sfg,
    "constant_p": build_constant_p,
}
