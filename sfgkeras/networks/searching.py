"""`fit_auto`: the search for groups of `[TRAINING] schedule = auto`, with plain Keras `fit`, on every backend."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.networks.balanced_loss import as_loss
from sfgkeras.networks.base import MultiTaskNetwork, describe_sharing
from sfgkeras.networks.counting import count_multiplies
from sfgkeras.networks.recalibration import BATCHES, recalibrate
from sfgkeras.networks.search_data import Data, endless
from sfgkeras.networks.settling import carry_moments, settle
from sfgkeras.sharing import ConstantMask, Sharing
from sfgkeras.sharing.judging import missed_shares, select, survivors
from sfgkeras.sharing.sfg import WAY_OF_LOGITS
from sfgkeras.tables.candidates import CANDIDATES
from sfgkeras.tables.grouping_schedules import FEWEST_STEPS, Auto


def fit_auto(
    network: MultiTaskNetwork,
    x: Any,
    y: Any = None,
    *,
    steps: int,
    validation_data: Any,
    batch_size: int = 32,
    sample_weight: Any = None,
    auto: Auto | None = None,
    report: Callable[[str], None] | None = None,
    **fitting: Any,
) -> MultiTaskNetwork:
    """Trains a network whose groups are found by trying candidates; returns the one that went on, fully trained.

    Candidates (`tables.candidates`) train side by side from the same seed on the same batches. At each rung they
    are judged on `validation_data`, and the worst leave, as many at each rung; after the last one the best goes on
    alone, with kernels, statistics and the optimiser's moments as they are. In all it has taken `steps` steps, as
    any other network. Regularisation, balancing rule, losses and metrics are the given network's.

    Args:
        network: With `sharing = "sfg"`, compiled, and not trained. It says what is trained, and stays as it is.
        x: Images, as an array; or batches `(images, targets)` or `(images, targets, weights)` that can be iterated over
            more than once, e.g. a `tf.data.Dataset`. Random ones should give the same batches whenever they are begun
            anew.
        y: Targets by task, as arrays, where `x` is an array.
        steps: Steps of the optimiser in all.
        validation_data: `(images, targets)` or `(images, targets, weights)`, as arrays. They should not be what the
            result is tested on.
        batch_size: Images per step, where `x` is an array; they are shuffled by the network's seed.
        sample_weight: Weights of the samples, or by task, where `x` is an array.
        auto: Rungs, candidates and tolerance; None for the usual ones. `windows` is not looked at.
        report: Called with a line at every rung, e.g. `print`.
        **fitting: Further arguments of `fit` for the training of the last one standing, e.g. `callbacks`, `verbose`.

    Returns:
        A compiled network of the same class whose groups are fixed (`sharing = "constant_mask"`).

    Raises:
        ValueError: If the network is not compiled, learns no groups, or has been trained; if `x` can be read only once;
            if there are too few steps; or if every candidate diverges.
    """
    auto = auto or Auto()
    ends = auto.rung_ends(steps)
    _refuse(network, steps, ends)
    data = endless(x, y, sample_weight, batch_size, network.seed)
    _build(network, data)
    standing = _candidates(network, auto, data, ends[0])
    judge = _Judge(network, validation_data)
    untrained: list[dict[str, float]] = []
    for rung, end in enumerate(ends, start=1):
        if len(standing) == 1:
            break
        for candidate in standing:
            if rung == 1 and not candidate.network.groupings():
                untrained.append(judge(candidate.network))
            candidate.train(end)
        means = {task: float(np.mean([losses[task] for losses in untrained])) for task in network.tasks}
        scores = missed_shares(means, {each.name: judge(each.network) for each in standing})
        keep = survivors(len(standing), len(ends) - rung + 1)
        chosen = select(scores, {each.name: each.multiplies for each in standing}, keep, auto.tolerance)
        standing = [each for each in standing if each.name in chosen]
        if report is not None:
            told = ", ".join(f"{name} {score:.3f}" for name, score in sorted(scores.items(), key=lambda one: one[1]))
            report(f"{' and '.join(chosen)} from step {end} on; share of the improvement that each misses: {told}")
    (winner,) = standing
    winner.train(steps, **{"verbose": 0, **fitting})
    return winner.network


def _refuse(network: MultiTaskNetwork, steps: int, ends: Sequence[int]) -> None:
    """Refuses what cannot be trained so; see `fit_auto`."""
    if not network.compiled:
        raise ValueError(f"network {network.name!r} is not compiled: call compile(optimizer, loss) first")
    if not getattr(network.sharing, "learn_grouping", False):
        raise ValueError(
            f"network {network.name!r} has sharing = {network.sharing.name!r}, which learns no groups; use 'sfg' or fit"
        )
    if int(ops.convert_to_numpy(network.iteration)):
        raise ValueError(f"network {network.name!r} has been trained: candidates start from new kernels; build it anew")
    if not ends:
        raise ValueError(
            f"steps = {steps} leaves a candidate fewer than {FEWEST_STEPS} steps, too few to judge it by; train "
            "longer, or call fit, which is the paper's way"
        )


def _build(network: MultiTaskNetwork, data: Data) -> None:
    """Builds a network that no image has told its size yet."""
    if not network.built:
        network.build((None, *next(data())[0].shape[1:]))


@dataclass
class _Candidate:
    """A candidate in training.

    Attributes:
        name: Its name.
        network: Its network; of learned groups the dense one, once it is.
        data: Makes its batches.
        batches: Its batches, from the next one on.
        step: Steps that it has taken.
        image_shape: `(*spatial, channels)` of the images.
    """

    name: str
    network: MultiTaskNetwork
    data: Data
    batches: Iterator[Any]
    image_shape: tuple[int, ...]
    step: int = 0

    @property
    def multiplies(self) -> int:
        """Multiplies of the network for an image."""
        return count_multiplies(self.network, self.image_shape)

    def train(self, until: int, **fitting: Any) -> None:
        """Trains to a step, and fixes the groups there where they were learned."""
        count = until - self.step
        if self.network.groupings():
            # An epoch a step: what a callback does to variables is seen by the next step, on every backend.
            self.network.fit(
                itertools.islice(self.batches, count), steps_per_epoch=1, epochs=count, verbose=0, shuffle=False,
                callbacks=[_RateOfLogits(WAY_OF_LOGITS / count)],
            )  # fmt: skip
            dense = _compiled(settle(self.network), self.network)
            carry_moments(self.network, dense, self.network.optimizer, dense.optimizer)
            if dense.batch_norm == "recalibrated":
                recalibrate(dense, [batch[0] for batch in itertools.islice(self.data(), BATCHES)])
            self.network = dense
        elif count:
            settings = {"verbose": 0, "steps_per_epoch": count, "epochs": 1, "shuffle": False, **fitting}
            self.network.fit(itertools.islice(self.batches, count), **settings)
        self.step = until


class _RateOfLogits(keras.callbacks.Callback):
    """Lengthens every step of the grouping logits as if they had a learning rate of their own.

    The steps of Keras' optimisers are proportional to the learning rate, and what they gather is not. (Momentum is, but
    it is of earlier steps.)

    Args:
        rate: Their learning rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate
        self._before: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the logits are."""
        self._before = [ops.convert_to_numpy(logits).copy() for logits in self._logits]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Moves them farther."""
        factor = self._rate / float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for logits, before in zip(self._logits, self._before, strict=True):
            logits.assign(before + (ops.convert_to_numpy(logits) - before) * factor)

    @property
    def _logits(self) -> list[Any]:
        return [grouping.grouping_logits for grouping in self.model.groupings().values()]


def _candidates(network: MultiTaskNetwork, auto: Auto, data: Data, learned_until: int) -> list[_Candidate]:
    """Builds the candidates; one that the network is too narrow for is left out.

    Raises:
        ValueError: If none is left.
    """
    own: Any = network.sharing
    shape = tuple(next(data())[0].shape[1:])
    found = []
    for name in auto.candidates if network.num_tasks > 1 else ("shared",):
        try:
            groups = CANDIDATES[name].load()(network.trunk.architecture)
        except ValueError:
            continue
        if groups is None:
            sharing = own.searching(learned_until)
        else:
            sharing = ConstantMask(routing=own.routing, mask_residual=own.mask_residual, allocation=groups)
        found.append(_Candidate(name, _twin(network, sharing), data, data(), shape))
    if not found:
        raise ValueError(
            f"candidates {', '.join(auto.candidates)}: the network is too narrow for any of them; add shared"
        )
    return found


def _twin(network: MultiTaskNetwork, sharing: Sharing) -> MultiTaskNetwork:
    """Returns a new network with another mechanism, compiled like the given one."""
    twin = type(network).from_config(network.get_config() | describe_sharing(sharing))
    twin.build((None, *network.image_size, network.image_channels))
    return _compiled(twin, network)


def _compiled(network: MultiTaskNetwork, like: MultiTaskNetwork) -> MultiTaskNetwork:
    """Compiles a network as another one, with an optimiser of its own."""
    settings = dict(like._compile_config.config)
    optimizer = type(like.optimizer).from_config(like.optimizer.get_config())
    network.compile(**{**settings, "optimizer": optimizer})
    optimizer.build(network.trainable_variables)
    return network


class _Judge:
    """Measures the mean loss of each task on held-out data.

    Args:
        network: Compiled with the losses.
        data: `(images, targets)` or `(images, targets, weights)`.
    """

    def __init__(self, network: MultiTaskNetwork, data: Any) -> None:
        self._images, self._targets, *weights = data
        self._weights = weights[0] if weights else None
        given = network.loss
        self._losses = {
            task: as_loss(given[task] if isinstance(given, Mapping) else given) for task in network.task_names
        }

    def __call__(self, network: MultiTaskNetwork) -> dict[str, float]:
        """Returns the losses by task."""
        statistics = network.batch_norm
        if not (statistics == "recalibrated" and network.statistics_fit):
            network.batch_norm = "batch"  # none have been measured, or moving averages that still lag behind
        outputs = network.predict(self._images, verbose=0)
        if network.batch_norm != statistics:
            network.batch_norm = statistics
        found = {}
        for task, loss in self._losses.items():
            targets = self._targets[task] if isinstance(self._targets, Mapping) else self._targets
            weights = self._weights.get(task) if isinstance(self._weights, Mapping) else self._weights
            found[task] = float(ops.convert_to_numpy(loss(targets, outputs[task], sample_weight=weights)))
        return found
