"""Whatever stands in an INI file: a configuration, or one `ConfigError` that names the file."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfgkeras.config import Config, read_config
from sfgkeras.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "ini_configs"
LINES = (SHIPPED / "demo.ini").read_text(encoding="utf-8").splitlines()
BOUNDED = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

keys = st.sampled_from([line.partition("=")[0].strip() for line in LINES if "=" in line])
values = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "nan", "-inf", "1e999", "0", "-1", "1,2,3", "(1, 2", '"open', "a: b", "%(x)s", "${x}", "\x00"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)
lines = st.one_of(
    st.sampled_from(LINES),
    st.text(max_size=40),
    st.builds("{} = {}".format, keys, values),
    st.sampled_from(["[", "[]", "[[MR]]", "[MR]", "[TASK]", "[TASK ]", "[TASK ct", "=", " = 3", ";", "  continued"]),
)


def read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found, message = None, ""
    try:
        found = read_config(path)
    except ConfigError as error:
        message = str(error)
    assert isinstance(found, Config) or path.name in message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "any.ini"


@BOUNDED
@given(content=st.lists(lines, max_size=30).map("\n".join))
def test_lines_in_any_order(path, content):
    read(path, content.encode("utf-8", "surrogatepass"))


@BOUNDED
@given(content=st.binary(max_size=300))
def test_any_bytes(path, content):
    read(path, content)


@BOUNDED
@given(changes=st.lists(st.tuples(keys, values), min_size=1, max_size=4))
def test_a_file_that_works_with_some_of_its_values_replaced(path, changes):
    replaced = dict(changes)
    text = []
    for line in LINES:
        key = line.partition("=")[0].strip()
        text.append(f"{key} = {replaced[key]}" if "=" in line and key in replaced else line)
    read(path, "\n".join(text).encode("utf-8", "surrogatepass"))
