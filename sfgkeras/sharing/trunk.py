"""A trunk: all layers between the image and the heads, under any sharing mechanism."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import RunStage, Streams, TensorOperations, walk_and_keep
from sfgkeras.layers.filter_grouping import FilterGrouping


class Trunk(keras.layers.Layer):
    """Sends an image through the stages of an architecture; a subclass says what a stage makes of its streams.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
    """

    def __init__(self, architecture: Architecture, settings: LayerSettings, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype=settings.dtype, **kwargs)
        self.architecture = architecture
        self.settings = settings

    @abstractmethod
    def stage_groups(self, index: int) -> Collection[int]:
        """Returns the readers by which the groups of a stage read, of those that have to be computed.

        A group of a shared stage reads by its own number, a task with a stage of its own by that of `sharing.readers`.
        """

    @abstractmethod
    def head_groups(self, task: int) -> Collection[int]:
        """Returns the streams that the head of a task reads."""

    @abstractmethod
    def task_reader(self, task: int) -> int:
        """Returns the number by which a task reads what a stage leaves for it on the way to its head."""

    def kept_groups(self, index: int) -> Collection[int]:
        """Returns the streams of a stage that heads read besides those of their own stage: further ones in training."""
        return sorted(self.task_reader(task) for task in self.architecture.supervised_tasks(index))

    @abstractmethod
    def stream_channels(self, index: int, reader: int) -> int:
        """Returns the channels of the stream that a stage leaves for a reader."""

    @abstractmethod
    def run_stage(
        self, index: int, streams: Streams, sized_image: Callable[[], Any], draw: Any, training: bool | None
    ) -> Streams:
        """Convolves, mixes, and applies residual blocks.

        Args:
            index: Which stage.
            streams: What each of its groups reads, by the number by which it does.
            sized_image: Returns the image at the size of the stage.
            draw: What masks are drawn by; a mechanism without masks does not look at it.
            training: Whether masks are sampled and normalisation uses the batch.

        Returns:
            The stream of each reader, before pooling.
        """

    @abstractmethod
    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the layers of a stage.

        Args:
            index: Which stage.
            size: `(batch, *spatial)` where it works.
            channels: How many channels each of its groups reads, by the number by which it does.
        """

    @abstractmethod
    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns the grouping of every layer whose masks are drawn, by the layer's name."""

    @abstractmethod
    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns p of every layer by its name, `(filters, groups)`, shared last; one-hot where groups are fixed."""

    @abstractmethod
    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns which tasks share what, by the name of the stage (`Architecture.names`), in order of depth.

        Entry `[i, j]` of a matrix `(tasks, tasks)` says how much of what task i uses at that stage's convolution is
        used, or trained, by task j too, from 0 to 1; see `sharing.used_in_common`. It is 0 for independent networks,
        1 for hard sharing, and 1 on the diagonal. Stages per task share nothing, and so does a task whose head sits
        before a stage.
        """

    def learned(self) -> dict[str, np.ndarray]:
        """Returns what the mechanism learned besides kernels and grouping probabilities; here nothing.

        Names are `<quantity>/<stage>`, or `<quantity>` of what belongs to no stage, e.g. `stitch_weights/stage_1`.
        First axes of length T are tasks; what is not there for a task is NaN.
        """
        return {}

    def build_heads(self, heads: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> None:
        """Builds the head of every task, when the trunk is built: a mechanism may concern the heads, too.

        Args:
            heads: The `TaskHead` of every task.
            shapes: Shape of what each of them reads.
        """
        for head, shape in zip(heads, shapes, strict=True):
            head.build(shape)

    def before_step(self, iteration: Any) -> None:
        """Does what is due before the images of a training call go through; here nothing.

        Args:
            iteration: How many training calls were before it.
        """

    @property
    def takes_turns(self) -> bool:
        """Whether a training step is one of a single task."""
        return False

    def turn(self, iteration: int) -> int | None:
        """Returns the task whose turn is the training step after so many; None where it is one of all tasks."""
        return None

    def turn_factors(self) -> Any:
        """Returns by what each task's term counts in the present training step, `(tasks,)`; None for all alike."""
        return None

    def used_by(self, task: int) -> list[Any]:
        """Returns the variables that are trained in the turn of a task."""
        raise NotImplementedError(f"{type(self).__name__} takes no turns")

    @property
    def records_errors(self) -> bool:
        """Whether `record_errors` is to be told the errors of training samples; `AdaptiveTrunk` has it."""
        return False

    @property
    def form(self) -> Any:
        """What the graph of a call depends on besides the arguments of the constructor; here nothing."""
        return ()

    def restored(self) -> bool:
        """Goes by variables that somebody has assigned, where what is computed depends on their values; here nothing.

        Returns:
            Whether what was compiled before has to be compiled anew.
        """
        return False

    def waiting_weights(self) -> list[Any]:
        """Returns the trained weights that nothing is computed with at present; here none."""
        return []

    def penalties(self) -> list[Any]:
        """Returns what the mechanism adds to the objective, float32 scalars; here nothing."""
        return []

    def readers(self, index: int) -> list[int]:
        """Returns the numbers by which later stages and heads read what a stage leaves."""
        architecture = self.architecture
        wanted = {group for later in architecture.readers(index) for group in self.stage_groups(later)}
        for task, tap in enumerate(architecture.taps):
            if tap == index:
                wanted.update(self.head_groups(task))
        wanted.update(map(self.task_reader, architecture.supervised_tasks(index)))
        return sorted(wanted)

    def build(self, input_shape: Any) -> None:
        """Builds all stages for images of `input_shape`, `(batch, *spatial, channels)`."""
        architecture = self.architecture
        for index, level in enumerate(architecture.levels):
            channels = {
                group: sum(self.stream_channels(source, group) for source in architecture.sources(index))
                if index
                else input_shape[-1]
                for group in self.stage_groups(index)
            }
            size = (input_shape[0], *architecture.spatial_shape(level, input_shape[1:-1]))
            self.build_stage(index, size, channels)

    def output_shapes(self, input_shape: Any) -> list[tuple[int, ...]]:
        """Returns the shape of what every head reads, for images of `input_shape`."""
        shapes = []
        for task, tap in enumerate(self.architecture.taps):
            spatial = self.architecture.spatial_shape(self.architecture.level_after(tap), input_shape[1:-1])
            shapes.append((input_shape[0], *spatial, self.stream_channels(tap, next(iter(self.head_groups(task))))))
        return shapes

    def supervised_shapes(self, input_shape: Any) -> list[tuple[int, ...]]:
        """Returns the shape of what every further head in training reads, for images of `input_shape`."""
        architecture, shapes = self.architecture, []
        for task, index in architecture.supervised:
            spatial = architecture.spatial_shape(architecture.levels[index], input_shape[1:-1])
            shapes.append((input_shape[0], *spatial, self.stream_channels(index, self.task_reader(task))))
        return shapes

    def call(self, inputs: Any, temperature: Any = None, source: Any = None, training: bool | None = None) -> list[Any]:
        """Returns what the head of every task reads.

        Args:
            inputs: Images `(batch, *spatial, channels)`.
            temperature: Temperature of this step, where masks are drawn.
            source: Index of the mask source; see `FilterGrouping.call`.
            training: Whether masks are always sampled and normalisation uses the batch.

        Returns:
            One tensor `(batch, *spatial, channels)` per task; in training one besides for every pair of
            `Architecture.supervised`, at the size of its stage.
        """

        def run_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
            return self.run_stage(index, streams, sized_image, (temperature, source), training)

        found, kept = self.walk(inputs, run_stage)
        deep = self.architecture.supervised if training else ()
        return [*self.for_heads(found), *(kept[index][self.task_reader(task)] for task, index in deep)]

    def walk(self, image: Any, run_stage: RunStage) -> tuple[list[Streams], dict[int, Streams]]:
        """Sends an image through all stages; returns for every task the streams that its head reads.

        The second is the streams of `kept_groups` by the index of their stage.
        """
        return walk_and_keep(self.architecture, image, self, TensorOperations(), run_stage)

    def for_heads(self, streams: Sequence[Streams]) -> list[Any]:
        """Returns the one tensor that each head reads."""
        return [next(iter(read.values())) for read in streams]
