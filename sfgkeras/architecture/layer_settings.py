"""What the layers of a network have in common, whatever tasks share, and the layers built by it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.residual import ResidualSection, build_block


@dataclass
class LayerSettings:
    """Settings of all layers of a trunk; see `MultiTaskNetwork` for the meaning.

    `seeds` is where every layer takes its seed from; `task_names` are in the order of the groups.
    """

    spatial_rank: int
    num_tasks: int
    activation: str = "prelu"
    statistics: str = "recalibrated"
    kernel_initializer: Any = "he_normal"
    bias_initializer: Any = "zeros"
    kernel_regularizer: Any = None
    rematerialise: str = "none"
    dtype: Any = None
    seeds: np.random.Generator = field(default_factory=np.random.default_rng)
    task_names: Sequence[str] = ()

    def __post_init__(self) -> None:
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

    def bias_of(self, stage: Stage) -> Any:
        """Returns the initialiser of a bias of a stage with the next seed, if its convolutions have one."""
        if stage.normalisation != "none":
            return "zeros"
        return seeded_initializer(self.bias_initializer, self.next_seed())

    def build_convolution(self, stage: Stage, filters: int, name: str) -> Convolution:
        """Builds a convolution of a stage, with so many of its filters."""
        return Convolution(
            self.spatial_rank,
            filters,
            stage.kernel_size,
            use_bias=stage.normalisation == "none",
            kernel_initializer=self.initializer(),
            bias_initializer=self.bias_of(stage),
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype,
            name=name,
        )

    def build_activation(self, stage: Stage, name: str) -> MaskedActivation:
        """Builds a normalisation and activation of a stage."""
        return MaskedActivation(
            self.activation,
            statistics=self.statistics,
            rematerialise=self.rematerialise,
            normalisation=stage.normalisation,
            dtype=self.dtype,
            name=name,
        )

    def build_section(self, stage: Stage, channels: int, name: str, folds_masks: bool = True) -> ResidualSection:
        """Builds the blocks of a stage for a stream of so many channels.

        Args:
            stage: The stage.
            channels: Channels of the stream.
            name: Name of the section.
            folds_masks: See `MaskedActivation`.
        """
        blocks = []
        for number, plan in enumerate(stage.block_plans(self.spatial_rank), start=1):
            count = len(plan.convolutions)
            blocks.append(
                build_block(
                    self.spatial_rank,
                    channels,
                    plan,
                    activation=self.activation,
                    statistics=self.statistics,
                    folds_masks=folds_masks,
                    kernel_initializers=[self.initializer() for _ in range(count)],
                    kernel_regularizer=self.kernel_regularizer,
                    rematerialise=self.rematerialise,
                    normalisation=stage.normalisation,
                    bias_initializers=[self.bias_of(stage) for _ in range(count)],
                    dtype=self.dtype,
                    name=f"{name}_block_{number}",
                )
            )
        return ResidualSection(blocks, dtype=self.dtype, name=name)


def seeded_initializer(initializer: Any, seed: int) -> Any:
    """Returns a copy of a Keras initialiser with another seed; one without a seed is returned as it is."""
    initializer = keras.initializers.get(initializer)
    config = initializer.get_config()
    return type(initializer).from_config(config | {"seed": seed}) if "seed" in config else initializer
