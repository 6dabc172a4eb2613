"""Which state is read, kept or removed, and averages by their names: with states of a few numbers, and no network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import (
    CheckpointFolder,
    TrainingState,
    collect_averages,
    predicting_arrays,
    read_names,
    read_record,
    read_state,
    restore_arrays,
    restore_averages,
    variable_names,
    write_state,
)
from sfgkeras.applications.records.settled import Settled
from sfgkeras.errors import DataError
from sfgkeras.protection import ReadFiles, protecting


def state(iteration, **record):
    return TrainingState({"network/0000/a": np.float32([iteration])}, {"iteration": iteration, **record})


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints", max_checkpoints=3)


def test_iterations_are_numbers_of_files_in_rising_order_and_nothing_else(folder):
    assert folder.iterations() == []
    for iteration in (1_000_000_000, 5, 20):
        folder.write(state(iteration))
    for name in ("best.npz", "iteration_7.npz.tmp", "iteration_x.npz", "recalibrated_1.npz", "iteration_000000009.txt"):
        (folder.folder / name).touch()
    assert folder.iterations() == [5, 20, 1_000_000_000]  # more digits than names have room for


def test_what_is_kept_are_the_newest_before_the_one_that_was_written(folder):
    for iteration in (10, 20, 30, 90):
        folder.write(state(iteration))
    assert folder.iterations() == [20, 30, 90]
    folder.write(state(25))  # of a run that started again from 20
    assert folder.iterations() == [20, 25, 30, 90]
    folder.write(state(26))
    folder.write(state(27))
    assert folder.iterations() == [25, 26, 27, 30, 90]


def test_a_state_that_is_read_elsewhere_is_not_removed(folder):
    path = folder.write(state(1))
    with protecting(ReadFiles([path])):
        for iteration in (2, 3, 4, 5):
            folder.write(state(iteration))
        assert folder.iterations() == [1, 3, 4, 5]
        with pytest.raises(DataError, match=r"iteration_000000001\.npz"):
            folder.clear()
    assert folder.iterations() == [1, 3, 4, 5]
    folder.clear()
    assert not list(folder.folder.iterdir())


def test_clearing_removes_states_and_leftovers_and_leaves_what_is_not_ours(folder):
    folder.write(state(1))
    folder.write(state(1), best=True)
    (folder.folder / ".iteration_000000002.npz.9-ab.tmp").touch()
    (folder.folder / "notes.txt").touch()
    folder.remove_leftovers()
    assert sorted(path.name for path in folder.folder.iterdir()) == ["best.npz", "iteration_000000001.npz", "notes.txt"]
    folder.clear()
    assert [path.name for path in folder.folder.iterdir()] == ["notes.txt"]
    CheckpointFolder(folder.folder / "none").clear()
    CheckpointFolder(folder.folder / "none").remove_leftovers()


def test_who_may_refuse_is_asked_before_anything_is_written(folder):
    def refuse():
        raise DataError("held by another")

    folder.before_writing = refuse
    with pytest.raises(DataError, match="held by another"):
        folder.write(state(1))
    assert not folder.folder.exists()


def test_a_run_that_started_from_a_state_goes_on_with_its_own_later_ones(folder):
    folder.max_checkpoints = 9
    for iteration, start in ((10, 0), (20, 0), (30, 20), (40, 0), (50, 20)):
        folder.write(state(iteration, progress={"started_from": start}))
    found, warnings = folder.read_continued(20)
    assert (found.record["iteration"], warnings) == (50, [])
    folder.path(50).write_bytes(b"damaged")
    found, warnings = folder.read_continued(20)
    assert found.record["iteration"] == 30
    assert len(warnings) == 1
    assert "trying the one before" in warnings[0]
    assert folder.read_continued(40)[0] is None
    assert folder.read_continued(10) == (None, [f"{read_error(folder.path(50))}; trying the one before"])
    folder.write(state(60))  # without progress: of somebody else
    assert folder.read_continued(50) == (None, [])


def read_error(path):
    try:
        read_record(path)
    except DataError as error:
        return str(error)
    raise AssertionError("it could be read")


def test_the_groups_of_a_run_are_those_of_its_newest_readable_state(folder):
    assert folder.settled() is None
    settled = Settled("shared", 10, [[0, 1], [2]])
    folder.write(state(10, **settled.values()))
    folder.write(state(20, **Settled("tapered", 20, [[1, 1], [2]]).values()))
    assert folder.settled().candidate == "tapered"
    folder.path(20).write_bytes(b"damaged")
    assert folder.settled() == settled
    folder.write(state(30))
    assert folder.settled() is None


def test_states_are_asked_for_by_number_as_the_newest_or_as_the_best(folder):
    with pytest.raises(DataError, match="no checkpoint; train first"):
        folder.read(-1)
    with pytest.raises(DataError, match="may be one of: none$"):
        folder.read(5)
    folder.write(state(10))
    folder.write(state(20))
    with pytest.raises(DataError, match=r"best\.npz: no such checkpoint; \[X\] y may be one of: 10, 20$"):
        folder.read("best", "[X] y")
    folder.write(state(10), best=True)
    assert [folder.read(which).record["iteration"] for which in (-1, 10, "20", "best")] == [20, 10, 20, 10]
    with pytest.raises(DataError, match=r"\[INFERENCE\] inference_iter may be one of: 10, 20, best"):
        folder.read(15)
    folder.path(20).write_bytes(b"damaged")
    told = []
    assert folder.read(-1, warn=told.append).record["iteration"] == 10
    assert len(told) == 1
    assert folder.read(-1).record["iteration"] == 10
    with pytest.raises(DataError, match="damaged"):
        folder.read(20)  # asked for by name: nothing else takes its place


def test_a_record_keeps_plain_values_and_arrays_their_types(tmp_path):
    arrays = {
        "network/0000/a/b": np.arange(3, dtype=np.int8),
        "random/x": np.array(7, np.uint64),
        "empty": np.zeros((0, 2)),
    }
    record = {"iteration": 3, "best_score": None, "names": ["ü", {"x": 1.5}]}
    write_state(tmp_path / "deep" / "x.npz", TrainingState(arrays, record))
    found = read_state(tmp_path / "deep" / "x.npz")
    assert {key: (value.dtype, value.shape) for key, value in found.arrays.items()} == {
        key: (value.dtype, value.shape) for key, value in arrays.items()
    }
    assert {key: found.record[key] for key in record} == json.loads(json.dumps(record))
    assert read_record(tmp_path / "deep" / "x.npz") == found.record
    assert read_names(tmp_path / "deep" / "x.npz") == ["a/b"]


@pytest.mark.parametrize("read", [read_record, read_names])
def test_of_a_file_that_is_not_there_or_damaged_nothing_is_read(tmp_path, read):
    for content in (None, b"", b"PK\x03\x04"):
        if content is not None:
            (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.npz: the checkpoint is missing or damaged"):
            read(tmp_path / "x.npz")


def test_predictions_take_averages_where_there_are_any_and_other_arrays_as_they_are():
    arrays = {"network/0000/a": 1, "network/0001/b": 2, "average/0001/b": 20, "random/c": 3, "optimizer_0/0001/b": 4}
    assert predicting_arrays(arrays) == {**arrays, "network/0001/b": 20}


class Variable:
    def __init__(self, path, value):
        self.path, self.value = path, np.float32(value)
        self.shape = self.value.shape

    def assign(self, value):
        self.value = value


def network():
    """A network with a kernel, logits of grouping whose own path says nothing, and the state of a generator."""
    logits, kernel = Variable("grouping_logits", [[1, 2]]), Variable("net/trunk/a/kernel", [3, 4])
    seed = Variable("net/dropout/seed_generator_17/state", [5])
    made = SimpleNamespace(
        name="net",
        predicting_variables=[kernel, logits, seed],
        groupings=lambda: {"a": SimpleNamespace(grouping_logits=logits)},
        random=None,
    )
    made.set_random_state = lambda state: setattr(made, "random", state)
    made.restored = lambda: None
    return made


NAMES = ["net/trunk/a/kernel", "net/trunk/a/grouping_logits", "net/dropout/seed_generator/state"]


def test_variables_are_named_alike_in_every_process():
    made = network()
    assert variable_names(made, made.predicting_variables) == NAMES


def test_averages_are_named_by_their_variables_and_found_again():
    made, other = network(), network()
    first, second, _ = made.predicting_variables
    found = collect_averages(made, {id(first): np.float32([30, 40]), id(second): np.float32([[10, 20]])})
    assert sorted(found) == [f"average/0000/{NAMES[0]}", f"average/0001/{NAMES[1]}"]
    averages = {id(variable): Variable("x", [0]) for variable in other.predicting_variables[:2]}
    restore_averages(found, other, averages)
    values = [averages[id(variable)].value.tolist() for variable in other.predicting_variables[:2]]
    assert values == [[30, 40], [[10, 20]]]
    del found[f"average/0001/{NAMES[1]}"]
    with pytest.raises(DataError, match="holds averages of weights, but not average/0001/.*begin anew with --restart"):
        restore_averages(found, other, averages)


def saved_arrays():
    values = [[7, 8], [[9, 10]], [11]]
    arrays = {f"network/{i:04d}/{name}": np.float32(v) for i, (name, v) in enumerate(zip(NAMES, values, strict=True))}
    return {**arrays, "random/masks": np.uint32([1])}


def test_what_was_saved_is_assigned_in_order_averages_first_and_generators_go_on():
    made = network()
    restore_arrays({**saved_arrays(), f"average/0000/{NAMES[0]}": np.float32([70, 80])}, made)
    assert [variable.value.tolist() for variable in made.predicting_variables] == [[70, 80], [[9, 10]], [11]]
    assert list(made.random) == ["masks"]


def test_a_training_goes_on_with_what_balancing_adversaries_and_optimisers_had_and_with_the_last_weights():
    made, told = network(), []
    parts = {
        name: Variable(f"x/{name}", [0]) for name in ("balancing", "adversaries", "deep_supervision", "optimizer_0")
    }
    made.balancer = SimpleNamespace(lasting_variables=[parts["balancing"]])
    made.adversary_variables, made.deep_variables = [parts["adversaries"]], [parts["deep_supervision"]]
    made.restored = lambda: told.append([variable.value.tolist() for variable in made.predicting_variables])
    arrays = {**saved_arrays(), f"average/0000/{NAMES[0]}": np.float32([70, 80])}
    arrays |= {f"{name}/0000/{name}": np.float32([number]) for number, name in enumerate(parts, start=1)}
    restore_arrays(arrays, made, [SimpleNamespace(variables=[parts["optimizer_0"]])])
    assert [variable.value.tolist() for variable in parts.values()] == [[1], [2], [3], [4]]
    assert told == [[[7, 8], [[9, 10]], [11]]]  # once, when all was there
    for missing in parts:
        fewer = {key: value for key, value in arrays.items() if not key.startswith(f"{missing}/")}
        with pytest.raises(DataError, match=f"the checkpoint has 0 {missing} variables, this {missing} 1: "):
            restore_arrays(fewer, made, [SimpleNamespace(variables=[parts["optimizer_0"]])])


def test_states_of_another_network_are_refused_with_what_differs():
    fewer = {key: value for key, value in saved_arrays().items() if "0002" not in key}
    with pytest.raises(DataError, match="the checkpoint has 2 network variables, this network 3: .*--restart"):
        restore_arrays(fewer, network())
    other = {**saved_arrays(), f"network/0000/{NAMES[0]}": np.zeros(3, np.float32)}
    with pytest.raises(DataError, match=r"kernel has shape \(3,\), this network needs \(2,\): another configuration"):
        restore_arrays(other, network())
