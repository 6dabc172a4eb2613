"""Networks that are laid out by settings: each of these changes the stages, and none is forgotten here."""

import dataclasses
from types import SimpleNamespace

import pytest

from sfgkeras.tables.networks import NETWORKS

OTHER_SETTINGS = [
    ("unet", "levels", 3), ("unet", "convolutions", 1), ("unet", "normalisation", "none"), ("unet", "skips", False),
    ("unet", "upsampling", "convolution"), ("unet", "decoder_start", "decoder"),
    ("playout", "levels", 2), ("playout", "maximum_share", 0.25), ("playout", "kernel_size", 5),
    ("playout", "dense", False), ("hyperface", "fused", ("conv_2",)), ("qin", "scales", 3), ("qin", "convolutions", 3),
    ("ynet", "depth", 4), ("ynet", "block", "dilated_pyramid"), ("mgcn", "levels", 3), ("mgcn", "blocks", 1),
    ("mgcn", "kernel", 5),
]  # fmt: skip

OF_HEADS = {("qin", "reach")}
"""Settings that change no stage but what a head does; see the tests of the network."""


def stages_of(name, **settings):
    """The stages of a network at full width with these settings, without building it."""
    entry = NETWORKS[name]
    return entry.load().lay_out(SimpleNamespace(shape=entry.settings(**settings)))


@pytest.mark.parametrize(("name", "setting", "value"), OTHER_SETTINGS)
def test_every_setting_of_a_network_changes_its_stages(name, setting, value):
    assert stages_of(name, **{setting: value}) != stages_of(name)


def test_no_setting_of_a_network_is_left_out():
    known = {
        (name, field.name)
        for name, entry in NETWORKS.items()
        if entry.settings is not None
        for field in dataclasses.fields(entry.settings)
    }
    assert known - OF_HEADS == {(name, setting) for name, setting, _ in OTHER_SETTINGS}
