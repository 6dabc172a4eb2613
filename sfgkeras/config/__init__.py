"""INI files to typed, frozen configurations; the only place where INI keys and Python names meet."""

from sfgkeras.config.config import Config
from sfgkeras.config.reader import read_config
from sfgkeras.config.sections import Evaluation, Inference, Network, Preprocessing, System, Training
from sfgkeras.config.shipped import configs_by_paper, find_config, list_configs
from sfgkeras.config.task_sections import InputSource, Multitask, Task

__all__ = [
    "Config",
    "Evaluation",
    "Inference",
    "InputSource",
    "Multitask",
    "Network",
    "Preprocessing",
    "System",
    "Task",
    "Training",
    "configs_by_paper",
    "find_config",
    "list_configs",
    "read_config",
]
