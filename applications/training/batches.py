"""Builds the sources of training and validation windows from a configuration."""

from collections.abc import Mapping, Sequence

from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.augmentation import Augmentation, Deformation
from sfgkeras.data.intensity import Intensities
from sfgkeras.data.samplers import SAMPLERS
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import lookup
from sfgkeras.tables.intensities import INTENSITIES

# Validation windows are drawn with a seed of their own, so that they are not the first training windows.
VALIDATION_SEED_OFFSET = 7919


def build_window_source(
    config: Config,
    tasks: Mapping[str, Task],
    subjects: Sequence[PreparedSubject],
    augment: bool,
    validation: bool = False,
) -> WindowSource:
    """Builds a source of windows.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        subjects: Prepared subjects.
        augment: Whether the INI's augmentation is applied.
        validation: Whether the validation seed is used.
    """
    sampler = lookup(SAMPLERS, config.network.window_sampling, "window_sampling")(
        config.window_size, **config.network.settings_of("window_sampling")
    )
    return WindowSource(
        subjects,
        config.window_size,
        sampler,
        build_augmentation(config) if augment else None,
        {name: task.target_kind for name, task in tasks.items()},
        loss_border=config.multitask.loss_border,
        seed=config.system.seed + (VALIDATION_SEED_OFFSET if validation else 0),
        windows_per_volume=config.training.sample_per_volume,
        learn_points={name: task.move for name, task in tasks.items() if isinstance(task, PointTarget)},
    )


def build_augmentation(config: Config) -> Augmentation | None:
    """Builds the augmentation of `[TRAINING]`, or None where nothing is asked for."""
    training = config.training
    deformation = None
    if training.do_elastic_deformation:
        deformation = Deformation(training.num_ctrl_points, training.deformation_sigma, training.proportion_to_deform)
    augmentation = Augmentation(
        rotation_angle=training.rotation_angle,
        scaling_percentage=training.scaling_percentage,
        isotropic_scaling=training.isotropic_scaling,
        flip_axes=training.random_flipping_axes,
        bias_field_range=training.bias_field_range,
        bias_field_order=training.bf_order,
        deformation=deformation,
        antialiasing=training.antialiasing,
        intensities=Intensities(
            **{name: getattr(training, name) for name in INTENSITIES},
            num_ghosts=training.num_ghosts,
            proportion=training.proportion_to_change,
        ),
    )
    off = Augmentation(antialiasing=training.antialiasing)
    return None if augmentation == off else augmentation
