"""Every verb ends with what it wrote and with the next command, which can be run as it is shown."""

import shlex

import click
import pytest

from sfgkeras.cli.summary import Summary
from sfgkeras.errors import counted


class Lines:
    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)


def test_the_next_command_has_the_very_file_and_settings_that_were_typed():
    context = click.Context(click.Command("train"))
    context.params = {"config_name": "my runs/a.ini"}
    context.args = ["--TRAINING.lr", "0.01", "--SYSTEM.model_dir=/data/x y"]
    said = Lines()
    Summary(context, said).next_verb("inference", "--dataset", "all")
    assert said.lines == [
        "next: sfgkeras inference -c 'my runs/a.ini' --dataset all --TRAINING.lr 0.01 '--SYSTEM.model_dir=/data/x y'"
    ]


def last_command(ended):
    *_, last = ended.stdout.strip().splitlines()
    assert last.startswith("next: "), ended.said
    return last.removeprefix("next: ")


def test_the_first_verbs_lead_to_a_check_that_passes(verb, tmp_path):
    assert last_command(verb("configs", cwd=tmp_path)).startswith("sfgkeras configs NAME")
    command = last_command(verb("phantom", "--output", "my phantoms", "--subjects", 5, cwd=tmp_path))
    ended = verb(*shlex.split(command)[1:], cwd=tmp_path)
    assert ended.code == 0, ended.said
    assert last_command(ended).startswith("sfgkeras train -c demo --MR.path_to_search 'my phantoms'")
    assert last_command(verb("configs", "demo", cwd=tmp_path)) == "sfgkeras check -c demo.ini"


def test_a_check_with_errors_names_no_next_verb_and_counts_them_in_words(verb, run_folder):
    ended = verb("check", "-c", "run.ini", "--MR.pixdim", "1000,1000,1000", cwd=run_folder)
    assert ended.code == 2
    assert "next:" not in ended.stdout
    assert "1 errors" not in ended.stdout


@pytest.mark.slow
@pytest.mark.ci_sample
def test_following_what_each_verb_names_next_leads_from_check_to_the_report(verb, run_folder):
    command, followed = "sfgkeras check -c run.ini --TRAINING.max_iter 1", []
    while command.startswith("sfgkeras "):
        words = shlex.split(command)
        followed.append(words[1])
        ended = verb(*words[1:], cwd=run_folder)
        assert ended.code == 0, ended.said
        command = last_command(ended)
    assert followed == ["check", "train", "inference", "evaluate", "report"]
    assert command == f"open {(run_folder / 'model' / 'report' / 'report.html').as_uri()} in a browser"


@pytest.mark.parametrize(("number", "words"), [(0, "0 errors"), (1, "1 error"), (2, "2 errors")])
def test_numbers_agree_with_their_nouns(number, words):
    assert counted(number, "error") == words


def test_a_noun_may_have_a_plural_of_its_own():
    assert [counted(n, "process", "processes") for n in (1, 2)] == ["1 process", "2 processes"]
