"""What is typed behind a verb, and what is said of it where it cannot be meant."""

import os

import pytest

from sfgkeras.cli.arguments import parse_overrides, split_inputs
from sfgkeras.config import find_config, read_config
from sfgkeras.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_iter", "20"], "unknown option '--max_iter'; write --TRAINING.max_iter"),
        (["--num_classes", "20"], "write .*--TASK.name.num_classes or --SEGMENTATION.num_classes"),
        (["--no_such_key", "20"], "settings are written --SECTION.KEY VALUE"),
        (["--TRAINING.max_iter", "--TRAINING.lr", "1"], "'--TRAINING.max_iter' has no value, for '--TRAINING.lr' is"),
        (["--TRAINING.lr", "1", "--TRAINING.max_iter"], "'--TRAINING.max_iter' has no value"),
    ],
)
def test_a_setting_without_its_section_or_value_is_refused_with_what_to_write(arguments, message):
    with pytest.raises(ConfigError, match=message):
        parse_overrides(arguments)


def test_a_value_may_be_negative_or_begin_with_dashes_behind_an_equals_sign():
    pairs = parse_overrides(["--INFERENCE.fill_constant", "-1024", "--INFERENCE.output_postfix=--x"])
    assert pairs == [("INFERENCE.fill_constant", "-1024"), ("INFERENCE.output_postfix", "--x")]


def test_a_folder_is_not_taken_for_an_ini_file_and_that_of_its_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is a folder, not an INI file; give the path of the INI file"):
        find_config(str(tmp_path))
    (tmp_path / "configuration.ini").write_text("")
    with pytest.raises(ConfigError, match=r"that of the run in it is .*configuration\.ini"):
        find_config(str(tmp_path))


@pytest.mark.parametrize("content", ["[SYSTEM]\nmodel_dir = x\n".encode("utf-16-le"), b"[SYSTEM]\nmodel_dir = a\0b\n"])
def test_zero_bytes_are_one_line(tmp_path, content):
    path = tmp_path / "run.ini"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds zero bytes.*save the file as UTF-8") as refused:
        read_config(path)
    assert len(str(refused.value).splitlines()) == 1


def test_a_zero_byte_in_an_override_is_refused_at_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"--SYSTEM\.model_dir = 'a\\x00b' has a zero byte; remove it"):
        read_config(find_config("demo"), [("SYSTEM.model_dir", "a\0b")])


def test_a_value_that_is_not_utf8_is_refused_and_can_be_shown():
    with pytest.raises(ConfigError, match="has bytes that are not UTF-8") as refused:
        read_config(find_config("demo"), [("MR.path_to_search", os.fsdecode(b"l\xe4t"))])
    str(refused.value).encode()


def test_paths_behind_an_option_are_parted_from_settings():
    given = ["b.nii.gz", "--MR.loader", "simpleitk", "c d.nii", "--INFERENCE.border=2, 2, 0", "e.nii"]
    inputs, settings = split_inputs(given)
    assert inputs == ["b.nii.gz", "c d.nii", "e.nii"]
    assert parse_overrides(settings) == [("MR.loader", "simpleitk"), ("INFERENCE.border", "2, 2, 0")]
