"""What a filter group network is made of: stages of a grouped convolution and what follows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.residual import ResidualBlock, ResidualSection
from sfgkeras.layers.routing import check_routing


@dataclass(frozen=True)
class Stage:
    """One grouped convolution, then residual blocks and pooling in every stream.

    Attributes:
        filters: Filters over all groups, before the width multiplier.
        kernel_size: Side of all kernels of the stage, in voxels.
        num_blocks: Residual blocks after the convolution.
        dilation: Dilation of the blocks' convolutions.
        pools: Whether a maximum over 2 voxels per axis follows.
    """

    filters: int
    kernel_size: int = 3
    num_blocks: int = 0
    dilation: int = 1
    pools: bool = False

    def scaled(self, width: float) -> "Stage":
        """Returns the stage with `width` times the filters, at least one."""
        filters = max(1, round(self.filters * width))
        return Stage(filters, self.kernel_size, self.num_blocks, self.dilation, self.pools)


def scale_stages(stages: Sequence[Stage], width: float) -> tuple[Stage, ...]:
    """Multiplies the filters of every stage by a width; counts are rounded, and at least 1.

    Raises:
        ValueError: If the width is not positive, or the last stage has residual blocks (a head reads the sum
            of two streams, which may be formed before or after pooling, but not before or after blocks).
    """
    if not stages or stages[-1].num_blocks:
        raise ValueError("a network needs at least one stage, and its last one cannot have residual blocks")
    if not width > 0:
        raise ValueError(f"width = {width} must be a positive factor on the numbers of filters, e.g. 0.5")
    return tuple(stage.scaled(width) for stage in stages)


@dataclass
class TrunkSettings:
    """Everything that the layers of a trunk have in common; see `MultiTaskNetwork` for the meaning.

    `seeds` is where every layer takes its seed from; a copy made by `dataclasses.replace` goes on from the
    same one.
    """

    spatial_rank: int
    num_tasks: int
    routing: str = "mixed"
    mask_residual: bool = True
    activation: str = "prelu"
    statistics: str = "recalibrated"
    assignment: str = "soft"
    per_sample: bool = False
    initial_probabilities: str | Sequence[float] | None = None
    learn_grouping: bool = True
    entropy_decay: float = 1e-5
    kernel_initializer: Any = "he_normal"
    kernel_regularizer: Any = None
    fractions: Sequence[float] | None = None
    allocation: Sequence[Sequence[int]] | None = None
    stitch_weight: float = 0.9
    stitch_per_channel: bool = False
    stitch_decay: float = 0.0
    rematerialise: str = "none"
    dtype: Any = None
    seeds: np.random.Generator = field(default_factory=np.random.default_rng)

    def __post_init__(self) -> None:
        check_routing(self.routing)
        if self.spatial_rank not in (2, 3):
            raise ValueError(f"spatial_rank = {self.spatial_rank} must be 2 or 3")

    @property
    def num_groups(self) -> int:
        """Number of groups: tasks and shared."""
        return self.num_tasks + 1

    def next_seed(self) -> int:
        """Returns the next seed derived from the network's."""
        return int(self.seeds.integers(2**31 - 1))

    def initializer(self) -> Any:
        """Returns the kernel initialiser with the next seed, so that no two kernels start equal."""
        return seeded_initializer(self.kernel_initializer, self.next_seed())

    def build_convolution(self, filters: int, kernel_size: int, name: str) -> Convolution:
        """Builds a convolution of these settings."""
        return Convolution(
            self.spatial_rank,
            filters,
            kernel_size,
            kernel_initializer=self.initializer(),
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype,
            name=name,
        )

    def build_activation(self, name: str) -> MaskedActivation:
        """Builds a normalisation and activation of these settings."""
        return MaskedActivation(
            self.activation, statistics=self.statistics, rematerialise=self.rematerialise, dtype=self.dtype, name=name
        )

    def build_section(self, stage: Stage, channels: int, name: str) -> ResidualSection:
        """Builds the residual blocks of a stage for a stream of so many channels."""
        blocks = [
            ResidualBlock(
                self.spatial_rank,
                channels,
                stage.kernel_size,
                dilation=stage.dilation,
                activation=self.activation,
                statistics=self.statistics,
                folds_masks=self.assignment == "soft",
                kernel_initializers=(self.initializer(), self.initializer()),
                kernel_regularizer=self.kernel_regularizer,
                rematerialise=self.rematerialise,
                dtype=self.dtype,
                name=f"{name}_block_{number}",
            )
            for number in range(1, stage.num_blocks + 1)
        ]
        return ResidualSection(blocks, dtype=self.dtype, name=name)


def seeded_initializer(initializer: Any, seed: int) -> Any:
    """Returns a copy of a Keras initialiser with another seed; one without a seed is returned as it is."""
    initializer = keras.initializers.get(initializer)
    config = initializer.get_config()
    return type(initializer).from_config(config | {"seed": seed}) if "seed" in config else initializer


def max_pool(features: Any) -> Any:
    """Takes the maximum over 2 voxels per axis; an odd last voxel is kept, so that no axis ever vanishes."""
    return keras.ops.max_pool(features, 2, strides=2, padding="same", data_format="channels_last")


def halved(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape of `max_pool` for an input `(batch, *spatial, channels)`."""
    return (shape[0], *(None if size is None else -(-size // 2) for size in shape[1:-1]), shape[-1])
