"""How long a training is: epochs, of which only the number of training subjects tells how many iterations they are."""

from sfgkeras.config import Config


def windows_per_epoch(config: Config, num_subjects: int) -> int:
    """Returns the windows of an epoch: `sample_per_volume` of each training subject."""
    return max(1, num_subjects) * config.training.sample_per_volume


def last_iteration(config: Config, num_subjects: int) -> int:
    """Returns the iteration that a training ends with: `max_iter`, or the one that holds the last window of an epoch.

    Args:
        config: The configuration.
        num_subjects: Number of training subjects.
    """
    if config.training.max_iter is not None:
        return config.training.max_iter
    windows = (config.training.max_epochs or 0) * windows_per_epoch(config, num_subjects)
    return -(-windows // config.network.batch_size)


def length_text(config: Config, num_subjects: int) -> str:
    """Returns the length of a training in the INI file's words, e.g. `max_iter = 100`."""
    if not config.training.max_epochs:
        return f"max_iter = {config.training.max_iter}"
    return f"max_epochs = {config.training.max_epochs}, {last_iteration(config, num_subjects)} iterations"
