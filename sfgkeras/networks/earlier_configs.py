"""Configurations of networks that earlier versions saved, in the words of this one."""

from collections.abc import Mapping
from typing import Any

import keras

from sfgkeras.sharing import SHARING

# Version 0.1.0 kept the settings of all mechanisms side by side; those of another mechanism had no effect.
_SETTINGS_OF_0_1: Mapping[str, str] = {
    "routing": "routing",
    "mask_residual": "mask_residual",
    "assignment": "assignment",
    "per_sample": "per_sample",
    "initial_probabilities": "initial_probabilities",
    "learn_grouping": "learn_grouping",
    "entropy_decay": "entropy_decay",
    "temperature": "temperature",
    "fractions": "fractions",
    "allocation": "allocation",
    "stitch_weight": "weight",
    "stitch_per_channel": "per_channel",
    "stitch_decay": "decay",
}


def translate_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `MultiTaskNetwork.get_config` of this version would have returned.

    Args:
        config: The configuration of a saved network, of this version or of 0.1.0.
    """
    if "sharing_settings" in config:
        return dict(config)
    known = SHARING[config["sharing"]].setting_names()
    settings = {new: config[old] for old, new in _SETTINGS_OF_0_1.items() if new in known and old in config}
    regularizer = {"l2": keras.regularizers.L2, "l1": keras.regularizers.L1}[config["kernel_decay_type"]]
    decay = config["kernel_decay"]
    dropped = {*_SETTINGS_OF_0_1, "kernel_decay", "kernel_decay_type"}
    return {
        **{name: value for name, value in config.items() if name not in dropped},
        "sharing_settings": settings,
        "kernel_regularizer": keras.regularizers.serialize(regularizer(decay) if decay else None),
    }
