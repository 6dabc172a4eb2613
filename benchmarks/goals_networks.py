"""Rows of the goals table about networks: training steps, memory, precision, hardening, whole volumes."""

import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from goals_timing import Settings, alternate, ratio

WIDTHS = ((16, 1), (32, 2), (64, 4))
"""Filters and dilation of the sections of HighResNet that hold residual blocks."""
TASKS = {"ct": 1, "organs": 6}
SETTLED = "settled"


def stock_highresnet(size: int) -> Any:
    """Builds the network of `hard_sharing` from Keras' own layers: the plain way that a user would take."""
    import keras
    from keras import layers

    regularizer = keras.regularizers.L2(1e-6)

    def convolve(x: Any, filters: int, dilation: int = 1) -> Any:
        return layers.Conv2D(
            filters, 3, padding="same", dilation_rate=dilation, use_bias=False, kernel_regularizer=regularizer
        )(x)

    def activate(x: Any) -> Any:
        return layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))

    x = inputs = keras.Input((size, size, 1))
    for filters, dilation in WIDTHS:
        x = activate(convolve(x, filters))
        for _ in range(2):
            inner = convolve(activate(x), filters, dilation)
            x = layers.Add()([x, convolve(activate(inner), filters, dilation)])
    for _ in range(2):
        x = activate(convolve(x, 64))
    heads = {
        name: layers.Conv2D(channels, 1, dtype="float32", kernel_regularizer=regularizer)(x)
        for name, channels in TASKS.items()
    }
    return keras.Model(inputs, heads)


def build_network(name: str, size: int) -> Any:
    """Builds `stock`, or ours with a sharing mechanism; `+` after its name makes activations again.

    `settled` is what a search leaves: groups that are fixed, thirds of the filters as nearly as multiples of 8 permit.
    """
    from sfgkeras.networks import HighResNet
    from sfgkeras.sharing import ConstantMask

    if name == "stock":
        return stock_highresnet(size)
    if name == SETTLED:
        return HighResNet(TASKS, ConstantMask(group_multiple=8), seed=0)
    return HighResNet(TASKS, name.rstrip("+"), seed=0, rematerialise="activations" if name.endswith("+") else "none")


def training_step(network: Any, size: int, batch: int) -> Callable[[], Any]:
    """Returns a compiled step of Adam on constant random data, already traced; ours by the Adam of our trainings."""
    import keras
    import tensorflow as tf

    from sfgkeras.networks import MultiTaskNetwork
    from sfgkeras.networks.flat_adam import FlatAdam

    random_generator = np.random.default_rng(0)
    images = tf.constant(random_generator.normal(size=(batch, size, size, 1)), tf.float32)
    labels = tf.constant(random_generator.integers(0, 6, (batch, size, size)), tf.int32)
    network(images[:1])
    optimizer = (FlatAdam if isinstance(network, MultiTaskNetwork) else keras.optimizers.Adam)(1e-3)
    optimizer.build(network.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            outputs = network(images, training=True)
            loss = tf.reduce_mean((outputs["ct"] - images) ** 2) + cross_entropy(labels, outputs["organs"])
            loss += tf.add_n([tf.cast(term, tf.float32) for term in network.losses])
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    def run() -> float:
        return float(step())

    run()
    return run


def limit_tensorflow(threads: int) -> None:
    """Gives TensorFlow so many threads within an operation."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)


def _compare_steps(settings: Settings, ours: str, peer: str) -> dict[str, float]:
    limit_tensorflow(settings.threads)
    steps = {
        name: training_step(build_network(name, settings.size), settings.size, settings.batch) for name in (ours, peer)
    }
    return ratio(alternate(steps, settings.repeats), ours, peer)


def single_against_stock(settings: Settings) -> dict[str, float]:
    """One training step, ours against Keras' own layers."""
    return _compare_steps(settings, "hard_sharing", "stock")


def sfg_against_single(settings: Settings) -> dict[str, float]:
    """One training step of filter groups for two tasks against the plain network."""
    return _compare_steps(settings, "sfg", "hard_sharing")


def small_sfg_against_single(settings: Settings) -> dict[str, float]:
    """The same where activations are made again in place of kept."""
    return _compare_steps(settings, "sfg+", "hard_sharing")


def single_against_pytorch(settings: Settings) -> dict[str, float]:
    """One training step, ours against the same network in PyTorch, eager, channels last."""
    import torch

    limit_tensorflow(settings.threads)
    torch.set_num_threads(settings.threads)
    size, batch = settings.size, settings.batch
    network = _torch_network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 6, (batch, size, size))

    def step() -> float:
        optimizer.zero_grad()
        outputs = network(images)
        loss = ((outputs[:, :1] - images) ** 2).mean() + torch.nn.functional.cross_entropy(outputs[:, 1:], labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    step()
    ours = training_step(build_network("hard_sharing", size), size, batch)
    return ratio(alternate({"ours": ours, "peer": step}, settings.repeats), "ours", "peer")


def _torch_network() -> Any:
    """Builds HighResNet in PyTorch, layer by layer as `stock_highresnet`."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, dilation: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *[part for _ in range(2) for part in (*act(channels), conv(channels, channels, dilation))]
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    def conv(read: int, filters: int, dilation: int = 1) -> nn.Module:
        return nn.Conv2d(read, filters, 3, padding=dilation, dilation=dilation, bias=False)

    def act(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels), nn.PReLU(channels)]

    layers: list[nn.Module] = []
    read = 1
    for filters, dilation in WIDTHS:
        layers += [conv(read, filters), *act(filters), Block(filters, dilation), Block(filters, dilation)]
        read = filters
    for _ in range(2):
        layers += [conv(read, 64), *act(64)]
        read = 64
    return nn.Sequential(*layers, nn.Conv2d(64, 7, 1))


def bfloat16_against_float32(settings: Settings) -> dict[str, float]:
    """One training step of the plain network, bfloat16 features against float32."""
    import keras

    limit_tensorflow(settings.threads)
    steps = {}
    for policy in ("mixed_bfloat16", "float32"):
        keras.config.set_dtype_policy(policy)
        network = build_network("hard_sharing", settings.size)
        steps[policy] = training_step(network, settings.size, settings.batch)
    return ratio(alternate(steps, settings.repeats), "mixed_bfloat16", "float32")


def peak_memory(settings: Settings, name: str) -> float:
    """Returns the GiB that training steps of a network add to a process at their peak."""
    limit_tensorflow(settings.threads)
    network = build_network(name, settings.size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = training_step(network, settings.size, settings.batch)
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def hardening_times(settings: Settings) -> Mapping[str, float]:
    """Seconds of inference of the hardened network (thirds of the filters in each group), a plain and a masked one."""
    import functools

    from hardening import HARDENED, MASKED, SINGLE, build_networks

    from sfgkeras.applications.export.formats import compiled_call

    limit_tensorflow(settings.threads)
    images = np.random.default_rng(0).normal(size=(settings.batch, settings.size, settings.size, 1)).astype("float32")
    networks = build_networks()
    calls = {
        name: functools.partial(compiled_call(networks[name], (None, None, 1)), images)
        for name in (HARDENED, SINGLE, MASKED)
    }
    times = alternate(calls, settings.repeats)
    return {"hardened": times[HARDENED], "single": times[SINGLE], "masked": times[MASKED]}


def volume_against_monai(settings: Settings) -> dict[str, float]:
    """Inference of a whole volume by slices, against MONAI's SliceInferer as it comes, both with a plain HighResNet."""
    import torch
    from monai.inferers import SliceInferer

    from sfgkeras.applications.inference.predictor import Predictor

    limit_tensorflow(settings.threads)
    torch.set_num_threads(settings.threads)
    shape = (144, 144, 16) if settings.quick else (288, 288, 62)
    volume = np.random.default_rng(0).normal(size=shape).astype("float32")
    peer_network = _torch_network().eval()
    inferer = SliceInferer(roi_size=(128, 128), spatial_dim=2, progress=False)
    tensor = torch.from_numpy(volume)[None, None]

    def peer() -> Any:
        with torch.inference_mode():
            return inferer(tensor, peer_network)

    network = build_network("hard_sharing", settings.size)
    network.build((None, None, None, 1))
    predictor = Predictor(network, _plain_tasks(), (0, 0, 1), (0, 0, 0), "none", 4)

    def ours() -> None:
        found = {name: array.shape for name, array in predictor.volumes(volume[..., None]).items()}
        if found != {name: (*shape, channels) for name, channels in TASKS.items()}:
            raise RuntimeError(f"outputs of {found} were predicted")

    return ratio(alternate({"ours": ours, "peer": peer}, max(1, settings.repeats // 3)), "ours", "peer")


def _plain_tasks() -> dict[str, Any]:
    """Returns tasks that leave the outputs as they are, as the peer does."""
    from sfgkeras.applications.tasks.regression import MapRegression
    from sfgkeras.config.task_sections import InputSource, Task

    class PlainTask(MapRegression):
        @property
        def num_outputs(self) -> int:
            return TASKS[self.name]

        def activate(self, outputs: np.ndarray) -> np.ndarray:
            return outputs

    return {
        name: PlainTask(name, name.upper(), Task(type="regression", target=name.upper()), InputSource())
        for name in TASKS
    }


def help_seconds(settings: Settings) -> float:
    """Returns the median seconds of `sfgkeras --help` in a process of its own."""
    import subprocess
    import sys

    command = [sys.executable, "-c", "from sfgkeras.cli import main; main(['--help'])"]
    times = []
    for _ in range(settings.repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return float(np.median(times))
