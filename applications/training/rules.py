"""The stopping rules of a run, built from its configuration."""

from sfgkeras.applications.training.stopping import StoppingRule
from sfgkeras.config import Config
from sfgkeras.errors import lookup
from sfgkeras.tables.stopping import ALWAYS, GROUPING, STOPPING


def build_rules(config: Config) -> list[StoppingRule]:
    """Builds the rules that always hold, the one that a key switches on, and the `early_stopping_mode`."""
    training, entries = config.training, list(ALWAYS.values())
    if training.stop_when_grouping_converges:
        entries.append(GROUPING)
    chosen = lookup(STOPPING, training.early_stopping_mode, "early_stopping_mode").load()
    of_tasks = {
        field: {name: getattr(task, key) for name, task in config.tasks.items() if getattr(task, key) is not None}
        for key, field in chosen.task_keys.items()
    }
    return [
        *(entry.load()() for entry in entries),
        chosen(patience=training.patience, **of_tasks, **training.settings_of("early_stopping_mode")),
    ]
