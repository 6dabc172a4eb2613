"""A PyTorch network on the windows, losses and iterations of a run of ours; its results as if we had written them.

Losses are written in PyTorch a second time, from their formulas; `compare_losses` checks both against each other.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from own_run import typical

from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.results import infer_volumes
from sfgkeras.applications.records.files import Provenance
from sfgkeras.applications.subjects.session import Session, open_session, prepare_phase
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.averages import SOON
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.config import Config
from sfgkeras.data.windows import WindowSource
from sfgkeras.reporter import Reporter
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.schedules import build_schedule, rate_factor

CHUNK = 10
"""Iterations between two readings of the clock, as often as our own log writes."""

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From target, output `(batch, channels, *spatial)` and weight `(batch, *spatial)` to one loss a sample, `(batch,)`."""

Build = Callable[[Mapping[str, int], int, Config], torch.nn.Module]
"""From output channels by task, channels of the image, and the INI file to a network.

It maps images `(batch, channels, *spatial)` to outputs by task.
"""


class PeerPredictor(Predictor):
    """Our windows around the peer: the same windows, the same way back to the subject's grid."""

    def __init__(self, network: torch.nn.Module, config: Config, tasks: Mapping[str, Any]) -> None:
        inference = config.inference
        window = inference.spatial_window_size or config.window_size
        resizes = SAMPLERS[config.network.window_sampling].whole
        batch_size = config.network.batch_size
        super().__init__(
            _no_call, tasks, window, inference.border, inference.blending, batch_size, False, resizes=resizes
        )
        self._network = network

    def _outputs(self, windows: np.ndarray, call: Any) -> dict[str, np.ndarray]:
        self._network.eval()
        with torch.inference_mode():
            outputs = self._network(images_tensor(windows))
        return {name: output.movedim(1, -1).numpy() for name, output in outputs.items()}


def _no_call(images: Any, training: bool) -> Any:
    raise NotImplementedError("the peer is called through PeerPredictor._outputs")


def images_tensor(windows: np.ndarray) -> torch.Tensor:
    """Returns `(batch, x, y, c)` as `(batch, c, x, y)`, laid out as PyTorch's CPU convolutions like it best."""
    return torch.from_numpy(np.ascontiguousarray(windows)).movedim(-1, 1).contiguous(memory_format=torch.channels_last)


class TorchAverages:
    """Averages of a network's parameters and statistics over the iterations, by the rule of our `ema_decay`.

    Args:
        network: What is averaged.
        decay: See `[TRAINING] ema_decay`; after n updates it is at most n / (n + `SOON`).
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._averages: dict[str, torch.Tensor] = {}
        self._updates = 0

    def update(self) -> None:
        """Takes the weights after a step."""
        decay = min(self._decay, self._updates / (self._updates + SOON))
        for name, value in self._network.state_dict().items():
            is_averaged = value.is_floating_point() and self._updates
            self._averages[name] = torch.lerp(value, self._averages[name], decay) if is_averaged else value.clone()
        self._updates += 1

    def use(self) -> None:
        """Gives the network its averages."""
        self._network.load_state_dict(self._averages)


class PeerRun:
    """Training of a two-dimensional peer by the settings of one of our INI files.

    Args:
        config: The INI file that our network was trained by.
        name: What messages call the peer.
        build: Builds it.
        losses: Losses by type of task.
        reporter: Shows progress.
    """

    def __init__(self, config: Config, name: str, build: Build, losses: Mapping[str, Loss], reporter: Reporter) -> None:
        torch.manual_seed(config.system.seed)
        torch.set_num_threads(config.system.num_threads)
        self._config, self._name, self._losses, self._reporter = config, name, losses, reporter
        self._session: Session = open_session(config, reporter, training=True)
        subjects = prepare_phase(self._session, "training", reporter)
        self.source: WindowSource = build_window_source(config, self._session.tasks, subjects, augment=True)
        outputs = {name: task.num_outputs for name, task in self._session.tasks.items()}
        channels = self.source.image_shape[-1]
        self.network = build(outputs, channels, config).to(memory_format=torch.channels_last)

    @property
    def tasks(self) -> Mapping[str, Task]:
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
            found[name] = self._losses[task.type_name](target, outputs[name], torch.from_numpy(weights[name]))
        return found

    def train(self) -> list[float]:
        """Trains for `max_iter` iterations, with the learning rates of the INI file, and its averages of weights.

        Returns:
            Seconds per iteration of each chunk of iterations.
        """
        training = self._config.training
        convolutions = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
        kernels = [module.weight for module in self.network.modules() if isinstance(module, convolutions)]
        optimizer = torch.optim.Adam(self.network.parameters(), lr=training.lr, eps=1e-7)
        schedule = build_schedule(training.lr_schedule, training.settings_of("lr_schedule"))
        self.network.train()
        averages = None if training.ema_decay is None else TorchAverages(self.network, training.ema_decay)
        seconds: list[float] = []
        began = time.perf_counter()
        with self._reporter.stage(f"training {self._name}", training.max_iter) as stage:
            for iteration in range(training.max_iter):
                optimizer.param_groups[0]["lr"] = training.lr * rate_factor(iteration, training.max_iter, schedule)
                optimizer.zero_grad()
                total = self._objective(iteration, kernels)
                total.backward()
                optimizer.step()
                if averages is not None:
                    averages.update()
                if (iteration + 1) % CHUNK == 0:
                    now = time.perf_counter()
                    seconds.append((now - began) / CHUNK)
                    began = now
                stage.advance(1, f"loss {total.item():.4g}")
        if averages is not None:
            averages.use()
        return seconds

    def _objective(self, iteration: int, kernels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Returns the weighted sum of the losses of an iteration's windows, and the decay of the kernels."""
        batch_size = self._config.network.batch_size
        images, targets, weights = self.source.batch(range(iteration * batch_size, (iteration + 1) * batch_size))
        losses = self.losses(self.network(images_tensor(images)), targets, weights)
        total = sum(self._config.tasks[name].weight * loss.mean() for name, loss in losses.items())
        return total + self._config.network.decay * sum(kernel.square().sum() for kernel in kernels)

    def infer(self, dataset: str | None = None) -> None:
        """Writes predictions where the INI file says, by the same code as ours."""
        config, session = self._config, self._session
        subjects = session.cohort.phase(dataset or config.inference.dataset_to_infer)
        config.inference.save_seg_dir.mkdir(parents=True, exist_ok=True)
        provenance = Provenance(config.inference.save_seg_dir, self._name)
        infer_volumes(session, PeerPredictor(self.network, config, session.tasks), subjects, provenance, self._reporter)


def compare_losses(run: PeerRun, indices: Sequence[int], tolerance: float = 1e-4) -> float:
    """Checks that both implementations of the losses agree on real windows and the untrained peer's outputs.

    Returns:
        The largest relative difference.

    Raises:
        AssertionError: If it is above `tolerance`.
    """
    images, targets, weights = run.source.batch(indices)
    with torch.inference_mode():
        outputs = run.network(images_tensor(images))
        theirs = {name: loss.numpy() for name, loss in run.losses(outputs, targets, weights).items()}
    worst = 0.0
    for name, task in run.tasks.items():
        output = outputs[name].movedim(1, -1).numpy()
        ours = np.asarray(task.build_loss().per_sample(targets[name], output, weights[name]))
        worst = max(worst, float(np.max(np.abs(ours / theirs[name] - 1))))
    if worst > tolerance:
        raise AssertionError(f"the losses differ by {worst:.2g} relative: the comparison would not be fair")
    return worst


def run_peer(run: PeerRun, config: Config, datasets: Sequence[str], reporter: Reporter) -> dict[str, Any]:
    """Compares the losses, trains and infers; returns what it cost: `seconds` per iteration and `parameters`."""
    difference = compare_losses(run, range(config.network.batch_size))
    reporter.message(f"the losses of both implementations differ by {difference:.1e} at most")
    seconds = run.train()
    shutil.rmtree(config.inference.save_seg_dir, ignore_errors=True)
    for dataset in datasets:
        run.infer(dataset)
    return {"seconds": typical(seconds), "parameters": run.num_parameters}
