"""MONAI's HighResNet as a peer (`peer_run.py`), and the losses of both tasks in PyTorch."""

from collections.abc import Mapping

import torch
from monai.networks.nets import HighResNet
from monai.networks.nets.highresnet import DEFAULT_LAYER_PARAMS_3D
from peer_run import PeerRun

from sfgkeras.config import Config
from sfgkeras.reporter import Reporter


class PeerNetwork(torch.nn.Module):
    """MONAI's two-dimensional HighResNet whose output channels are shared out among the tasks.

    MONAI ends the network with normalisation and rectification, so that no output is ever negative. With
    `linear_outputs` that last step is left out, as it is in ours.

    Args:
        tasks: Output channels by task.
        channels: Channels of the image.
        width: Factor on the number of features of all layers but the last.
        linear_outputs: Whether the last convolution's outputs are the results.
    """

    def __init__(self, tasks: Mapping[str, int], channels: int, width: float, linear_outputs: bool) -> None:
        super().__init__()
        layers = [
            params | ({"n_features": max(1, round(params["n_features"] * width))} if "n_features" in params else {})
            for params in DEFAULT_LAYER_PARAMS_3D
        ]
        self.tasks = dict(tasks)
        self.trunk = HighResNet(2, channels, sum(tasks.values()), bias=linear_outputs, layer_params=layers)
        if linear_outputs:
            self.trunk.blocks[-1].adn = torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps images `(batch, channels, x, y)` to outputs `(batch, channels, x, y)` by task."""
        parts = torch.split(self.trunk(images), list(self.tasks.values()), dim=1)
        return dict(zip(self.tasks, parts, strict=True))


def rmse_per_sample(target: torch.Tensor, output: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Root of the weighted mean of squares of every sample; zero for a sample without weight.

    Args:
        target: `(batch, 1, x, y)`.
        output: Of the same shape.
        weight: `(batch, x, y)`.

    Returns:
        `(batch,)`.
    """
    weight = weight[:, None]
    total = weight.sum((1, 2, 3))
    mean = (weight * (target - output) ** 2).sum((1, 2, 3)) / total.clamp(min=1e-12)
    return torch.where(total > 0, torch.sqrt(mean + 1e-13), torch.zeros_like(mean))


def dice_cross_entropy_per_sample(labels: torch.Tensor, logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus one minus the mean soft Dice over the classes, of every sample.

    The smoothing constant is 1e-5 voxels for classes that occur in a sample and 1 voxel for those that do not.

    Args:
        labels: `(batch, x, y)`, int64.
        logits: `(batch, classes, x, y)`.
        weight: `(batch, x, y)`.

    Returns:
        `(batch,)`.
    """
    log_p = torch.log_softmax(logits, dim=1)
    voxelwise = torch.nn.functional.nll_loss(log_p, labels, reduction="none")
    cross_entropy = (voxelwise * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-12)
    truth = torch.nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1) * weight[:, None]
    p = log_p.exp()
    overlap, size = (truth * p).sum((2, 3)), truth.sum((2, 3))
    smooth = torch.where(size > 0, 1e-5, 1.0)
    dice = (2 * overlap + smooth) / (size + (p * weight[:, None]).sum((2, 3)) + smooth)
    return cross_entropy + (1 - dice).mean(dim=1)


LOSSES = {"regression": rmse_per_sample, "segmentation": dice_cross_entropy_per_sample}


def build_peer(config: Config, linear_outputs: bool, reporter: Reporter) -> PeerRun:
    """Builds the run of MONAI's network by one of our INI files."""

    def build(outputs: Mapping[str, int], channels: int, config: Config) -> PeerNetwork:
        return PeerNetwork(outputs, channels, config.network.width, linear_outputs)

    return PeerRun(config, "MONAI's HighResNet", build, LOSSES, reporter)
