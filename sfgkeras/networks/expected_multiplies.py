"""How many multiplies the hardened network is expected to cost, as a differentiable function of the probabilities.

Filters choose their groups independently. Of the filters of a layer that belong to any of a set S of groups, with
q_k = sum_{g in S} p_kg,

    E[n] = sum_k q_k        E[n^2] = E[n]^2 + sum_k q_k (1 - q_k)        P(n = 0) = prod_k (1 - q_k)

A convolution multiplies what its group owns with what it reads, which are filters of different layers; a block is
quadratic in the channels of its stream. What no head depends on does not exist: the probability that it does is
found from the last stage back. One approximation is in it: several readers of one group are taken as independent in
this probability. At probabilities of 0 and 1 the number is exact.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.layers.convolution import per_axis
from sfgkeras.networks.heads import TaskHead
from sfgkeras.networks.motion_head import MotionHead
from sfgkeras.sharing.allocation import allocate_own
from sfgkeras.sharing.readers import sources_of, task_reader


def expected_multiplies(
    architecture: Architecture,
    probabilities: Sequence[Any],
    heads: Sequence[TaskHead | MotionHead],
    input_shape: Sequence[int],
    routing: str = "mixed",
    mask_residual: bool = True,
    num_frames: int = 1,
) -> Any:
    """Returns the expected multiplies of one image, or one sequence of frames, in a hardened network.

    Args:
        architecture: The stages.
        probabilities: Grouping probabilities of every stage that tasks share, `(filters, groups)`, all groups, shared
            last.
        heads: The heads of all tasks.
        input_shape: `(*spatial, channels)` of the image, or of one frame.
        routing: See `layers.routing.groups_read`.
        mask_residual: Whether residual blocks stay inside their stream's support.
        num_frames: Frames that go through the trunk one by one.

    Returns:
        A float32 scalar.
    """
    expectation = _Expectation(architecture, probabilities, routing, mask_residual)
    return num_frames * expectation.of_trunk(input_shape) + expectation.of_heads(heads, input_shape)


def relative_multiplies(network: Any) -> Any:
    """Returns the expected multiplies of a hardened network as a multiple of those with all filters shared.

    Axes of any size count as long as pooling divides them.

    Args:
        network: A `MultiTaskNetwork` that has been built, and whose masks are drawn.

    Returns:
        A float32 scalar that depends on the grouping logits.
    """
    trunk = network.trunk
    architecture, settings = trunk.architecture, trunk.sharing
    length = 2 ** max(architecture.level_after(index) for index in range(len(architecture.stages)))
    shape = (*(size or length for size in network.image_size), network.trunk_channels)
    frames = network.image_channels if network.is_siamese else 1

    def of(probabilities: Sequence[Any]) -> Any:
        how = settings.routing, settings.mask_residual, frames
        return expected_multiplies(architecture, probabilities, network.heads, shape, *how)

    return of(trunk.probabilities_of_all_groups()) / of(all_shared(architecture))


def all_shared(architecture: Architecture) -> list[np.ndarray]:
    """Returns the probabilities of a network whose tasks share all that they can, for every stage that has some."""
    shared = np.eye(len(architecture.taps) + 1, dtype="float32")[-1]
    return [np.tile(shared, (stage.filters, 1)) for stage in architecture.stages if not stage.per_task]


class _Expectation:
    """Expected sizes of groups and streams, and with which probability they are needed.

    Arguments are those of `expected_multiplies`.
    """

    def __init__(
        self, architecture: Architecture, probabilities: Sequence[Any], routing: str, mask_residual: bool
    ) -> None:
        self._architecture = architecture
        self._routing = routing
        self._num_tasks = len(architecture.taps)
        self._num_groups = self._num_tasks + 1
        own = np.eye(self._num_groups, dtype="float32")
        fixed = [own[allocate_own(stage, self._num_tasks)] for stage in architecture.stages[len(probabilities) :]]
        self._probabilities = [ops.convert_to_tensor(layer, "float32") for layer in (*probabilities, *fixed)]
        self._is_full = [
            bool(stage.num_blocks) and not (mask_residual or stage.per_task) for stage in architecture.stages
        ]
        # Of every stage from the last one back: by reader, and by group.
        self._reads: dict[tuple[int, int], Any] = {}
        self._is_read: dict[tuple[int, int], Any] = {}
        for index in reversed(range(len(architecture.stages))):
            self._find_needed(index)

    def of_trunk(self, input_shape: Sequence[int]) -> Any:
        """Sums over convolutions and blocks."""
        architecture = self._architecture
        total = ops.zeros((), "float32")
        rank = len(input_shape) - 1
        for index, stage in enumerate(architecture.stages):
            size = self._voxels(architecture.levels[index], input_shape[:-1])
            per_product = float(size * math.prod(per_axis(stage.kernel_size, rank, "kernel_size")))
            plans = stage.block_plans(rank)
            in_blocks = float(size * sum(part.entries(rank) for plan in plans for part in plan.convolutions))
            for group in self._groups(index):
                owned = ops.sum(self._share(index, (group,)))
                read = self._read_by(index, group, input_shape[-1])
                total = total + per_product * self._is_read[index, group] * owned * read
            for reader in self._readers(index) if plans else []:
                total = total + self._reads[index, reader] * in_blocks * self._squared_channels(index, reader)
        return total

    def of_heads(self, heads: Sequence[TaskHead | MotionHead], input_shape: Sequence[int]) -> Any:
        """Sums over the heads of all tasks."""
        return sum(self._of_head(task, head, input_shape[:-1]) for task, head in enumerate(heads))

    def _of_head(self, task: int, head: TaskHead | MotionHead, shape: Sequence[int]) -> Any:
        """Returns the multiplies of the head of a task, whose first layer alone depends on the channels it reads."""
        tap = self._architecture.taps[task]
        per_channel, others = head.costs(self._voxels(self._architecture.level_after(tap), shape))
        reader = self._task_reader(task)
        # A head that reads no channel multiplies one channel of zeros.
        missing = 0.0 if self._is_full[tap] else self._none(tap, self._sources(tap, reader))
        return float(per_channel) * (self._held(tap, reader) + missing) + float(others)

    def _voxels(self, level: int, shape: Sequence[int]) -> int:
        return math.prod(length or 1 for length in self._architecture.spatial_shape(level, shape))

    def _groups(self, index: int) -> list[int]:
        live = self._architecture.live_groups(index)
        return live[:-1] if self._architecture.stages[index].per_task else live

    def _task_reader(self, task: int) -> int:
        return task_reader(self._routing, self._num_groups, task)

    def _sources(self, index: int, reader: int) -> tuple[int, ...]:
        groups = self._groups(index)
        return tuple(group for group in sources_of(self._routing, self._num_groups, reader) if group in groups)

    def _reader_of(self, index: int, group: int) -> int:
        """Returns the number by which a group of a stage reads what stands before it."""
        return self._task_reader(group) if self._architecture.stages[index].per_task else group

    def _readers(self, index: int) -> list[int]:
        return sorted(reader for stage, reader in self._reads if stage == index)

    def _find_needed(self, index: int) -> None:
        """Notes the probabilities that streams and groups of a stage are needed, where later stages are known."""
        architecture = self._architecture
        missing: dict[int, Any] = {}
        for later in architecture.readers(index):
            for group in self._groups(later):
                exists = self._is_read[later, group] * (1.0 - self._none(later, (group,)))
                reader = self._reader_of(later, group)
                missing[reader] = missing.get(reader, 1.0) * (1.0 - exists)
        missing |= {self._task_reader(task): 0.0 for task, tap in enumerate(architecture.taps) if tap == index}
        for reader, absent in missing.items():
            self._reads[index, reader] = 1.0 - absent
        for group in self._groups(index):
            unread: Any = 1.0
            for reader, absent in missing.items():
                unread = unread * absent if group in self._sources(index, reader) else unread
            self._is_read[index, group] = 1.0 - unread

    def _read_by(self, index: int, group: int, image_channels: int) -> Any:
        """Returns the expected channels of what a group reads."""
        if index == 0:
            return float(image_channels)
        reader = self._reader_of(index, group)
        return sum(self._held(source, reader) for source in self._architecture.sources(index))

    def _share(self, index: int, groups: Sequence[int]) -> Any:
        """Returns for every filter the probability that it belongs to one of some groups."""
        columns = [self._probabilities[index][:, group] for group in groups]
        return sum(columns[1:], columns[0]) if columns else ops.zeros_like(self._probabilities[index][:, 0])

    def _none(self, index: int, groups: Sequence[int]) -> Any:
        """Returns the probability that some groups have no filter."""
        return ops.prod(ops.maximum(1.0 - self._share(index, groups), 0.0))

    def _held(self, index: int, reader: int) -> Any:
        """Returns the expected channels of a stream."""
        if self._is_full[index]:
            return float(self._probabilities[index].shape[0])
        return ops.sum(self._share(index, self._sources(index, reader)))

    def _squared_channels(self, index: int, reader: int) -> Any:
        """Returns the expected square of a stream's channels."""
        if self._is_full[index]:
            return float(self._probabilities[index].shape[0]) ** 2
        share = self._share(index, self._sources(index, reader))
        return ops.square(ops.sum(share)) + ops.sum(share * ops.maximum(1.0 - share, 0.0))
