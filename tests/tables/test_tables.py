"""Tables on the ground: names, facts and settings without Keras, and the objects when they are asked for."""

import inspect
import subprocess
import sys

import pytest

from sfgkeras.settings import described
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.candidates import CANDIDATES
from sfgkeras.tables.entry import Entry, LoadedTable, aliases_of
from sfgkeras.tables.grouping_schedules import GROUPING_SCHEDULES
from sfgkeras.tables.loaders import LOADERS
from sfgkeras.tables.losses import LOSSES
from sfgkeras.tables.measures import MEASURES, measures_by_type
from sfgkeras.tables.meta_learning import META_LEARNING
from sfgkeras.tables.metrics import METRICS
from sfgkeras.tables.networks import NETWORKS
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.stopping import STOPPING
from sfgkeras.tables.tasks import TASK_TYPES, for_type, measured_as

TABLES = {
    "measures": MEASURES, "candidates": CANDIDATES, "schedules of groups": GROUPING_SCHEDULES,
    "balancing": BALANCING, "loaders": LOADERS, "networks": NETWORKS, "optimisers": OPTIMISERS, "samplers": SAMPLERS,
    "sharing": SHARING, "meta learning": META_LEARNING, "stopping": STOPPING, "tasks": TASK_TYPES,
    **{f"{kind} losses": entries for kind, entries in LOSSES.items()},
    **{f"{kind} metrics": entries for kind, entries in METRICS.items()},
}  # fmt: skip
ENTRIES = [
    pytest.param(entry, id=f"{table}-{name}") for table, found in TABLES.items() for name, entry in found.items()
]
WITH_ARGUMENTS = [
    pytest.param(entry, id=f"{kind}-{name}")
    for kind, entries in LOSSES.items()
    for name, entry in entries.items()
    if entry.settings is not None
]


def test_names_facts_and_settings_are_known_without_keras():
    code = (
        "import sys\n"
        "from sfgkeras.tables import balancing, loaders, losses, measures, metrics, networks, optimisers\n"
        "from sfgkeras.tables import samplers, sharing, stopping, tasks\n"
        "from sfgkeras.settings import described\n"
        "assert described(losses.LOSSES['regression']['huber'].settings_class())\n"
        "sharing.SHARING['sfg'].settings_class()\n"
        "print(*[name for name in ('keras', 'tensorflow', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == []


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_says_what_it_is_and_loads_something(entry):
    assert entry.summary
    assert not entry.summary.endswith(".")
    loaded = entry.load()
    each = loaded if isinstance(loaded, tuple) else (loaded,)
    assert all(map(callable, each))
    assert all(each.description.endswith(".") for each in described(entry.settings_class()).values())


@pytest.mark.parametrize("entry", WITH_ARGUMENTS)
def test_a_loss_takes_its_settings_as_arguments_with_the_same_defaults(entry):
    defaults = {name: each.default for name, each in described(entry.settings_class()).items()}
    arguments = inspect.signature(entry.load().__init__).parameters
    assert defaults == {name: arguments[name].default for name in defaults}
    assert set(arguments) - set(defaults) == {"self", "reduction", "name"}


def test_every_type_of_task_has_measures_some_of_them_usual():
    for task_type in TASK_TYPES:
        found = for_type(measures_by_type(), task_type)
        assert any(entry.usual for entry in found.values())
        assert {entry.kind for entry in found.values()} == {measured_as(task_type)}


def test_no_alias_is_a_name():
    for entries in TABLES.values():
        assert not set(aliases_of(entries)) & set(entries)


def test_a_loaded_table_sees_what_is_added_and_loads_only_what_is_asked_for():
    asked = []
    entries = {"a": Entry(lambda: asked.append("a") or 1, "one"), "b": Entry(lambda: asked.append("b") or 2, "two")}
    table = LoadedTable(entries)
    assert (list(table), len(table), "a" in entries) == (["a", "b"], 2, True)
    assert table["b"] == 2
    assert asked == ["b"]
    entries["c"] = Entry(lambda: 3, "three")
    assert dict(table) == {"a": 1, "b": 2, "c": 3}
