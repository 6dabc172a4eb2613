"""What a shell gets to offer; bash itself is asked, too, where it is there."""

import os
import shutil
import subprocess
import sys

import click
import pytest

from sfgkeras.cli.completion import SHELLS, completion_script
from sfgkeras.cli.group import commands

INI = "[SCAN]\npath_to_search = .\n[CT]\npath_to_search = .\n[MULTITASK]\nimage = SCAN\n[TASK liver]\ntarget = CT\n"


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Returns a function: the words of a command line, the last one incomplete -> what is offered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.ini").write_text(INI)

    def ask(*words):
        from click.shell_completion import ShellComplete

        found = ShellComplete(commands, {}, "sfgkeras", "_X").get_completions(list(words[:-1]), words[-1])
        return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]

    return ask


def test_verbs_options_and_files_are_offered(offer):
    assert offer("tra") == ["train"]
    assert "--restart" in offer("train", "-c", "own.ini", "--re")
    assert offer("train", "-c", "own") == ["<file>"]
    assert "prostate" in offer("train", "-c", "pros")
    assert offer("inference", "-c", "own.ini", "--dataset", "v") == ["validation"]


def test_settings_are_offered_from_the_third_letter_on_with_the_names_of_the_file(offer):
    assert "--TRAINING.max_iter" in offer("train", "-c", "own.ini", "--training.max")
    assert offer("train", "-c", "own.ini", "--") == ["--fold", "--restart", "--help"]  # the verb's own, not hundreds
    assert "--SCAN.pixdim" in offer("train", "-c", "own.ini", "--sca")
    assert "--TASK.liver.num_classes" in offer("train", "-c", "own.ini", "--TASK.liver.num")
    assert offer("train", "-c", "missing.ini", "--SCAN.pix") == []
    assert offer("phantom", "--TRAINING.m") == []


def test_values_of_a_setting_are_offered_where_there_are_few(offer):
    assert set(offer("train", "-c", "own.ini", "--NETWORK.sharing", "s")) >= {"sfg", "sluice", "soft_sharing"}
    assert offer("train", "-c", "own.ini", "--NETWORK.whitening", "") == ["yes", "no"]
    assert "segmentation" in offer("train", "-c", "own.ini", "--TASK.liver.type", "")
    assert offer("train", "-c", "own.ini", "--TRAINING.lr", "") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_of_its_own(shell):
    assert f"_SFGKERAS_COMPLETE={shell}_complete" in completion_script(shell, commands)
    assert isinstance(commands.commands["completion"], click.Command)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_verb(tmp_path):
    (tmp_path / "sfgkeras").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sfgkeras "$@"\n')
    (tmp_path / "sfgkeras").chmod(0o755)
    script = (
        'eval "$(sfgkeras completion bash)"; COMP_WORDS=(sfgkeras infe); COMP_CWORD=1; _sfgkeras_completion sfgkeras'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f'{script}; echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == ["inference"], done.stderr
