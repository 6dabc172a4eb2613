"""Whatever happened to the bytes of a saved state: what was saved, or one `DataError` that names the file."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfgkeras.applications.records.checkpoints import TrainingState, read_record, read_state, write_state
from sfgkeras.errors import DataError

BOUNDED = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def state():
    return TrainingState({"network/0000/kernel": np.arange(6.0).reshape(2, 3), "b": np.arange(3)}, {"iteration": 7})


@pytest.fixture(scope="module")
def whole(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "iteration_7.npz"
    write_state(path, state)
    return path.read_bytes()


def read(path, content, state):
    """Reads a state; it is refused by name, or holds only what was saved."""
    path.write_bytes(content)
    found, message = None, ""
    try:
        read_record(path)
        found = read_state(path)
    except DataError as error:
        message = str(error)
    assert (found is None) == (path.name in message)
    if found is None:
        return
    assert found.record["iteration"] == 7
    assert set(found.arrays) == set(state.arrays)
    for name, values in found.arrays.items():
        np.testing.assert_array_equal(values, state.arrays[name])


@BOUNDED
@given(data=st.data())
def test_bytes_changed(data, whole, state, tmp_path):
    content = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    read(tmp_path / "state.npz", bytes(content), state)


@BOUNDED
@given(data=st.data())
def test_cut_off_or_with_something_behind(data, whole, state, tmp_path):
    length = data.draw(st.integers(0, len(whole)))
    read(tmp_path / "state.npz", whole[:length] + data.draw(st.binary(max_size=40)), state)


@BOUNDED
@given(content=st.binary(max_size=400))
def test_any_bytes(content, state, tmp_path):
    read(tmp_path / "state.npz", content, state)
