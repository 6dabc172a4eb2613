"""MONAI's `BasicUNet` as a peer (`peer_run.py`) of our U-Net on photographs, and the mask's loss in PyTorch."""

from collections.abc import Mapping

import torch
from monai.networks.nets import BasicUNet
from peer_run import PeerRun

from sfgkeras.config import Config
from sfgkeras.reporter import Reporter
from sfgkeras.tables.networks import UNetSettings

AS_OURS = {"act": "relu", "norm": "batch"}
"""What BasicUNet is given to normalise and activate as ours does; without, instances are normalised, and ReLU leaks."""


class PeerUNet(torch.nn.Module):
    """MONAI's two-dimensional BasicUNet of four levels; its ways up are transposed convolutions.

    Args:
        tasks: Output channels by task.
        channels: Channels of the image.
        width: Factor on 64 features of the first level, 128 of the second, and so on.
        as_ours: Whether it normalises and activates as ours does, else as it comes.
    """

    def __init__(self, tasks: Mapping[str, int], channels: int, width: float, as_ours: bool) -> None:
        super().__init__()
        features = [max(1, round(64 * 2**level * width)) for level in range(5)]
        chosen = AS_OURS if as_ours else {}
        self.tasks = dict(tasks)
        self.trunk = BasicUNet(2, channels, sum(tasks.values()), (*features, features[0]), **chosen)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps images `(batch, channels, x, y)` to outputs `(batch, outputs, x, y)` by task."""
        parts = torch.split(self.trunk(images), list(self.tasks.values()), dim=1)
        return dict(zip(self.tasks, parts, strict=True))


def binary_cross_entropy_per_sample(labels: torch.Tensor, logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean over the voxels of every sample.

    Args:
        labels: 0 and 1, `(batch, x, y)`.
        logits: `(batch, 1, x, y)`.
        weight: `(batch, x, y)`.

    Returns:
        `(batch,)`.
    """
    values = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), reduction="none")
    return (values * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-12)


LOSSES = {"segmentation": binary_cross_entropy_per_sample}


def build_peer(config: Config, as_ours: bool, reporter: Reporter) -> PeerRun:
    """Builds the run of MONAI's network by one of our INI files.

    Raises:
        ValueError: If the INI file asks for other than four levels.
    """
    if (levels := config.network.settings_of("name")["levels"]) != UNetSettings().levels:
        raise ValueError(f"BasicUNet has {UNetSettings().levels} levels, and unet_levels = {levels}")

    def build(outputs: Mapping[str, int], channels: int, config: Config) -> PeerUNet:
        return PeerUNet(outputs, channels, config.network.width, as_ours)

    return PeerRun(config, "MONAI's BasicUNet", build, LOSSES, reporter)
