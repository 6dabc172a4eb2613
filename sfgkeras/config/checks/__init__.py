"""What must hold between keys: each check reads a settled draft and collects its mistakes."""

from collections.abc import Callable

from sfgkeras.config.checks.network import check_grouping, check_monte_carlo, check_network
from sfgkeras.config.checks.results import check_evaluation, check_inference, check_preprocessing
from sfgkeras.config.checks.sources import check_images, check_sources, warn_unused_sources
from sfgkeras.config.checks.targets import check_boxes, check_image_targets, check_landmarks, check_motion
from sfgkeras.config.checks.tasks import check_tasks
from sfgkeras.config.checks.training import (
    check_balancing,
    check_folds,
    check_grouping_schedule,
    check_meta_learning,
    check_stopping,
    check_trackers,
    check_training,
    check_validation,
)
from sfgkeras.config.settle import Draft

CHECKS: tuple[Callable[[Draft], None], ...] = (
    check_sources,
    check_images,
    check_tasks,
    check_boxes,
    check_landmarks,
    check_image_targets,
    check_motion,
    check_network,
    check_grouping,
    check_monte_carlo,
    check_training,
    check_trackers,
    check_folds,
    check_balancing,
    check_meta_learning,
    check_grouping_schedule,
    check_validation,
    check_stopping,
    check_inference,
    check_preprocessing,
    check_evaluation,
    warn_unused_sources,
)
