"""Variables and `keras.json` of a user's machine do not change a run, nor stop it; libraries keep quiet."""

import logging
import os
import warnings

import pytest

from sfgkeras.cli.environment import settled

LOAD = """
import click, os, sys, warnings, logging
from sfgkeras.cli.group import commands, load_tensorflow
from sfgkeras.cli import process

@commands.command()
def probe():
    load_tensorflow()
    import keras, tensorflow as tf
    tf.config.list_physical_devices("GPU")
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    data = tf.data.Dataset.range(4).map(lambda x: x * 2, num_parallel_calls=2).with_options(options)
    print("sum", sum(int(value) for value in data))
    print("keras", keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format())
    warnings.warn("a library's warning", DeprecationWarning)
    logging.getLogger("tensorflow").warning("a library's log")
    import matplotlib
    print("draws with", matplotlib.get_backend())

process.main({arguments})
"""
EXPECTED = ["sum 12", "keras tensorflow float32 channels_last", "draws with agg"]


def probe(program, *arguments, **options):
    return program(LOAD.format(arguments=["probe", *arguments]), **options)


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_a_verb_that_loads_tensorflow_shows_its_own_lines_only(program, where):
    ended = probe(program, where=where)
    assert ended.code == 0
    assert ended.stdout.splitlines() == EXPECTED
    assert ended.stderr == ""


def test_with_debug_libraries_say_what_they_like(program):
    ended = probe(program, "--debug")
    assert ended.stdout.splitlines() == EXPECTED
    assert "InitializeLog" in ended.stderr
    assert "a library's log" in ended.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KERAS_BACKEND": "jax"}, "warning: KERAS_BACKEND = 'jax' is not followed"),
        ({"MPLBACKEND": "TkAgg", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "0"}, ""),
        ({"MPLBACKEND": "no_such_backend", "PYTHONWARNINGS": "error"}, ""),
    ],
)
def test_variables_of_the_environment_change_nothing(program, variables, said):
    ended = probe(program, variables=variables)
    assert ended.code == 0
    assert ended.stdout.splitlines() == EXPECTED
    assert ended.stderr.startswith(said)
    assert len(ended.stderr.splitlines()) == bool(said)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"floatx": "float64", "image_data_format": "channels_first", "backend": "torch"}', 0),
        ('{"floatx": "float128"}', 2),
        ("{", 0),
    ],
)
def test_what_keras_json_says_does_not_change_a_run(program, tmp_path, content, code):
    (tmp_path / "keras.json").write_text(content)
    ended = probe(program, variables={"KERAS_HOME": str(tmp_path)})
    assert ended.code == code
    if code:
        assert ended.stderr.startswith(f"sfgkeras: {tmp_path / 'keras.json'}: Keras cannot use it")
        assert len(ended.stderr.splitlines()) == 1
    else:
        assert (ended.stdout.splitlines(), ended.stderr) == (EXPECTED, "")


def test_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    with settled(debug=False) as told:
        assert os.environ["KERAS_BACKEND"] == "tensorflow"
        assert os.environ["MPLBACKEND"] == "agg"
        assert len(told) == 1
        assert logging.root.manager.disable == logging.CRITICAL
    assert os.environ["KERAS_BACKEND"] == "torch"
    assert "MPLBACKEND" not in os.environ
    assert logging.root.manager.disable == 0
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
