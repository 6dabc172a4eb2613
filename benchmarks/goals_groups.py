"""Rows of the goals table about hardened networks whose groups hold multiples of 8: time by multiplies, per engine."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from goals_networks import TASKS, limit_tensorflow
from goals_timing import Settings, alternate

GROUPS, SINGLE = "groups of 8, 16, ...", "single"


def time_by_multiplies_in_keras(settings: Settings) -> dict[str, float]:
    """Inference of the hardened network against the plain one, by their multiplies, compiled by TensorFlow."""
    from sfgkeras.applications.export.formats import compiled_call

    limit_tensorflow(settings.threads)
    return _time_by_multiplies(settings, lambda network: compiled_call(network, (None, None, 1)))


def time_by_multiplies_in_onnxruntime(settings: Settings) -> dict[str, float]:
    """The same under onnxruntime."""
    import onnxruntime

    from sfgkeras.networks.onnx_export import build_onnx_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads

    def load(network: Any) -> Callable[[Any], Any]:
        session = onnxruntime.InferenceSession(build_onnx_model(network).SerializeToString(), options)
        return lambda images: session.run(None, {"image": images})

    return _time_by_multiplies(settings, load)


def _time_by_multiplies(settings: Settings, load: Callable[[Any], Callable[[Any], Any]]) -> dict[str, float]:
    """Returns seconds per 10^9 multiplies of both networks, and their ratio: 1 where every multiply costs the same."""
    from sfgkeras.networks import count_multiplies

    shape = (settings.batch, settings.size, settings.size, 1)
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    networks = hardened_networks()
    times = alternate(
        {name: functools.partial(load(network), images) for name, network in networks.items()}, settings.repeats
    )
    costs = {
        name: times[name] / (settings.batch * count_multiplies(network, shape[1:]) / 1e9)
        for name, network in networks.items()
    }
    return {"ours": costs[GROUPS], "peer": costs[SINGLE], "value": costs[GROUPS] / costs[SINGLE]}


def hardened_networks() -> Mapping[str, Any]:
    """Returns a network in thirds, as nearly as multiples of 8 permit, and one that shares all; both hardened."""
    from sfgkeras.networks import HighResNet, harden
    from sfgkeras.sharing import ConstantMask, HardSharing

    found = {}
    for name, sharing in {GROUPS: ConstantMask(group_multiple=8), SINGLE: HardSharing()}.items():
        network = HighResNet(TASKS, sharing, seed=0)
        network.build((None, None, None, 1))
        found[name] = harden(network)
    return found
