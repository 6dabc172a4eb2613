"""The rules by which a run may stop before `max_iter`: what `[TRAINING] early_stopping_mode` may choose."""

from collections.abc import Callable, Sequence

from sfgkeras.tables.entry import Entry

Rule = Callable[[Sequence[float]], bool]


def _best() -> Rule:
    from sfgkeras.applications.training.stopping import no_new_best

    return no_new_best


def _mean() -> Rule:
    from sfgkeras.applications.training.stopping import above_mean

    return above_mean


def _robust_mean() -> Rule:
    from sfgkeras.applications.training.stopping import above_robust_mean

    return above_robust_mean


def _median() -> Rule:
    from sfgkeras.applications.training.stopping import above_median

    return above_median


def _generalisation_loss() -> Rule:
    from sfgkeras.applications.training.stopping import generalisation_loss

    return generalisation_loss


def _median_smoothing() -> Rule:
    from sfgkeras.applications.training.stopping import above_smoothed_median

    return above_smoothed_median


def _validation_up() -> Rule:
    from sfgkeras.applications.training.stopping import rising

    return rising


STOPPING: dict[str, Entry[Rule]] = {
    "best": Entry(_best, "no later loss is below the first"),
    "mean": Entry(_mean, "the last loss exceeds the mean of the earlier ones"),
    "robust_mean": Entry(_robust_mean, "as `mean`, without the earlier outliers"),
    "median": Entry(_median, "the last loss exceeds the median of the earlier ones"),
    "generalisation_loss": Entry(_generalisation_loss, "the last loss is 20 % above the lowest"),
    "median_smoothing": Entry(_median_smoothing, "as `median`, of smoothed losses"),
    "validation_up": Entry(_validation_up, "the later half has a higher mean than the earlier"),
}
