"""MONAI's HighResNet on the windows, losses and iterations of a run of ours; its results as if we had written them.

Losses are written here a second time, in PyTorch, from their formulas; `compare_losses` checks both against each other.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.nets import HighResNet
from monai.networks.nets.highresnet import DEFAULT_LAYER_PARAMS_3D

from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.results import infer_volumes
from sfgkeras.applications.records.files import Provenance
from sfgkeras.applications.subjects.session import Session, open_session, prepare_phase
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.config import Config
from sfgkeras.data.windows import WindowSource
from sfgkeras.reporter import Reporter

CHUNK = 10
"""Iterations between two readings of the clock, as often as our own log writes."""


class PeerNetwork(torch.nn.Module):
    """MONAI's two-dimensional HighResNet whose output channels are shared out among the tasks.

    MONAI ends the network with normalisation and rectification, so that no output is ever negative. With
    `linear_outputs` that last step is left out, as it is in ours.

    Args:
        tasks: Output channels by task.
        width: Factor on the number of features of all layers but the last.
        linear_outputs: Whether the last convolution's outputs are the results.
    """

    def __init__(self, tasks: Mapping[str, int], width: float, linear_outputs: bool) -> None:
        super().__init__()
        layers = [
            params | ({"n_features": max(1, round(params["n_features"] * width))} if "n_features" in params else {})
            for params in DEFAULT_LAYER_PARAMS_3D
        ]
        self.tasks = dict(tasks)
        self.trunk = HighResNet(2, 1, sum(tasks.values()), bias=linear_outputs, layer_params=layers)
        if linear_outputs:
            self.trunk.blocks[-1].adn = torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps images `(batch, 1, x, y)` to outputs `(batch, channels, x, y)` by task."""
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


class PeerPredictor(Predictor):
    """Our sliding windows around the peer: same windows, same way back to the subject's grid."""

    def __init__(self, network: PeerNetwork, config: Config, tasks: Mapping[str, Any]) -> None:
        inference = config.inference
        window = inference.spatial_window_size or config.window_size
        super().__init__(_no_call, tasks, window, inference.border, inference.blending, config.network.batch_size)
        self._network = network

    def _outputs(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        self._network.eval()
        with torch.inference_mode():
            outputs = self._network(_images(windows))
        return {name: output.movedim(1, -1).numpy() for name, output in outputs.items()}


def _no_call(images: Any, training: bool) -> Any:
    raise NotImplementedError("the peer is called through PeerPredictor._outputs")


def _images(windows: np.ndarray) -> torch.Tensor:
    """Returns `(batch, x, y, 1)` as `(batch, 1, x, y)`, laid out as PyTorch's CPU convolutions like it best."""
    return torch.from_numpy(np.ascontiguousarray(windows)).movedim(-1, 1).contiguous(memory_format=torch.channels_last)


class PeerRun:
    """Training of the peer by the settings of one of our INI files.

    Args:
        config: The INI file that our network was trained by.
        linear_outputs: See `PeerNetwork`.
        reporter: Shows progress.
    """

    def __init__(self, config: Config, linear_outputs: bool, reporter: Reporter) -> None:
        torch.manual_seed(config.system.seed)
        torch.set_num_threads(config.system.num_threads)
        self._config = config
        self._reporter = reporter
        self._session: Session = open_session(config, reporter, training=True)
        subjects = prepare_phase(self._session, "training", reporter)
        self.source: WindowSource = build_window_source(config, self._session.tasks, subjects, augment=True)
        outputs = {name: task.num_outputs for name, task in self._session.tasks.items()}
        self.network = PeerNetwork(outputs, config.network.width, linear_outputs).to(memory_format=torch.channels_last)

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks by name."""
        return self._session.tasks

    @property
    def num_parameters(self) -> int:
        """Trained parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def losses(self, outputs: Mapping[str, torch.Tensor], targets: Any, weights: Any) -> dict[str, torch.Tensor]:
        """Returns every task's unweighted loss `(batch,)`, for targets and weights as a window source gives them."""
        found = {}
        for name, task in self._session.tasks.items():
            target = torch.from_numpy(targets[name])
            target = target.long() if task.target_kind == "labels" else target.movedim(-1, 1)
            found[name] = LOSSES[task.type_name](target, outputs[name], torch.from_numpy(weights[name]))
        return found

    def train(self) -> list[float]:
        """Trains for `max_iter` iterations.

        Returns:
            Seconds per iteration of each chunk of iterations.
        """
        config = self._config
        kernels = [module.weight for module in self.network.modules() if isinstance(module, torch.nn.Conv2d)]
        optimizer = torch.optim.Adam(self.network.parameters(), lr=config.training.lr, eps=1e-7)
        batch_size, iterations = config.network.batch_size, config.training.max_iter
        self.network.train()
        seconds: list[float] = []
        began = time.perf_counter()
        with self._reporter.stage("training MONAI's HighResNet", iterations) as stage:
            for iteration in range(iterations):
                indices = range(iteration * batch_size, (iteration + 1) * batch_size)
                images, targets, weights = self.source.batch(indices)
                losses = self.losses(self.network(_images(images)), targets, weights)
                total = sum(config.tasks[name].weight * loss.mean() for name, loss in losses.items())
                total = total + config.network.decay * sum(kernel.square().sum() for kernel in kernels)
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                if (iteration + 1) % CHUNK == 0:
                    now = time.perf_counter()
                    seconds.append((now - began) / CHUNK)
                    began = now
                stage.advance(1, f"loss {total.item():.4g}")
        return seconds

    def infer(self, dataset: str | None = None) -> None:
        """Writes predictions where the INI file says, by the same code as ours."""
        config, session = self._config, self._session
        subjects = session.cohort.phase(dataset or config.inference.dataset_to_infer)
        config.inference.save_seg_dir.mkdir(parents=True, exist_ok=True)
        provenance = Provenance(config.inference.save_seg_dir, "monai")
        predictor = PeerPredictor(self.network, config, session.tasks)
        infer_volumes(session, predictor, subjects, provenance, self._reporter)


def compare_losses(run: PeerRun, indices: Sequence[int], tolerance: float = 1e-4) -> float:
    """Checks that both implementations of the losses agree on real windows and the untrained peer's outputs.

    Returns:
        The largest relative difference.

    Raises:
        AssertionError: If it is above `tolerance`.
    """
    images, targets, weights = run.source.batch(indices)
    with torch.inference_mode():
        outputs = run.network(_images(images))
        theirs = {name: loss.numpy() for name, loss in run.losses(outputs, targets, weights).items()}
    worst = 0.0
    for name, task in run.tasks.items():
        output = outputs[name].movedim(1, -1).numpy()
        ours = np.asarray(task.build_loss().per_sample(targets[name], output, weights[name]))
        worst = max(worst, float(np.max(np.abs(ours / theirs[name] - 1))))
    if worst > tolerance:
        raise AssertionError(f"the losses differ by {worst:.2g} relative: the comparison would not be fair")
    return worst
