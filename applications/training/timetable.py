"""What a training does at which iteration: how far an epoch is, when it validates, saves, logs, and ends."""

from dataclasses import dataclass, field

from sfgkeras.applications.subjects.epochs import last_iteration, windows_per_epoch
from sfgkeras.config import Config
from sfgkeras.tables.schedules import Schedule, build_schedule, rate_factor


@dataclass(frozen=True)
class Timetable:
    """Turns the iterations of a training into epochs, and says what is due.

    An epoch is one pass over the training subjects, in which each gives `sample_per_volume` windows: with
    `window_sampling = resize` and the default of 1, each image once. Batches are cut from one endless sequence of
    windows, so an epoch may end within a batch; it has ended at the iteration that holds its last window.

    Attributes:
        iterations: The last iteration.
        batch_size: Windows of an iteration, over all devices.
        windows_per_epoch: Windows of an epoch.
        validation_every_n: Iterations between validations; 0 or less for none.
        validation_every_epochs: Epochs between validations; 0 for none.
        save_every_n: Iterations between saved states; 0 for the last one only.
        log_every_n: Iterations between entries of the logs; 0 for the first and last one only.
        schedule: Factor of the learning rate for the fraction of the training that has passed.
        warm_up: Iterations in which the learning rate rises.
        until: The iteration that this part of the training ends with; None for the last one. The learning rate goes by
            the whole of it.
    """

    iterations: int
    batch_size: int
    windows_per_epoch: int
    validation_every_n: int = 0
    validation_every_epochs: int = 0
    save_every_n: int = 0
    log_every_n: int = 0
    schedule: Schedule = field(default_factory=lambda: build_schedule("constant"))
    warm_up: int = 0
    until: int | None = None

    @property
    def last(self) -> int:
        """The iteration that this part of the training ends with."""
        return self.iterations if self.until is None else self.until

    def epoch(self, iteration: int) -> float:
        """Returns how many epochs have passed after an iteration."""
        return iteration * self.batch_size / self.windows_per_epoch

    def rate_factor(self, iteration: int) -> float:
        """Returns the factor of the learning rate with which the step of an iteration, from 1, is taken."""
        return rate_factor(iteration - 1, self.iterations, self.schedule, self.warm_up)

    def validates(self, iteration: int) -> bool:
        """Says whether a validation follows an iteration."""
        if not self.validation_every_epochs:
            return _is_due(iteration, self.validation_every_n)
        windows = self.windows_per_epoch * self.validation_every_epochs
        return iteration * self.batch_size // windows > (iteration - 1) * self.batch_size // windows

    def saves(self, iteration: int) -> bool:
        """Says whether the state after an iteration is saved."""
        return _is_due(iteration, self.save_every_n) or iteration == self.last

    def logs(self, iteration: int) -> bool:
        """Says whether the losses of an iteration are logged."""
        return _is_due(iteration, self.log_every_n) or iteration in (1, self.last)


def _is_due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def build_timetable(config: Config, num_subjects: int, until: int | None = None) -> Timetable:
    """Builds the timetable of a configuration for so many training subjects; `until` as in `Timetable`."""
    training, batch_size = config.training, config.network.batch_size
    windows = windows_per_epoch(config, num_subjects)
    return Timetable(
        last_iteration(config, num_subjects),
        batch_size,
        windows,
        training.validation_every_n,
        training.validation_every_epochs,
        training.save_every_n,
        training.tensorboard_every_n,
        build_schedule(training.lr_schedule, training.settings_of("lr_schedule")),
        training.warm_up,
        until,
    )
