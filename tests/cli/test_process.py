"""What a process ends with: exit codes, the one line that is said, streams that fail; and values behind a verb."""

import ast
import io
import subprocess
import sys

import click
import pytest

from sfgkeras.cli import process
from sfgkeras.cli.arguments import parse_fractions, parse_names, parse_settings, parse_slice, split_inputs
from sfgkeras.cli.streams import Output, ReaderGone, guarded_streams, say
from sfgkeras.errors import ConfigError, DataError

ENDINGS = {
    "nothing": (None, 0, ""),
    "config": (ConfigError("run.ini: lr is no number"), 2, "sfgkeras: run.ini: lr is no number\n"),
    "data": (DataError("a.nii.gz: is damaged"), 2, "sfgkeras: a.nii.gz: is damaged\n"),
    "fault": (RuntimeError("one\ntwo"), 1, "sfgkeras: RuntimeError: one (--debug shows where)\n"),
    "silent fault": (KeyError(), 1, "sfgkeras: KeyError:  (--debug shows where)\n"),
    "exit 3": (SystemExit(3), 3, ""),
    "exit with words": (SystemExit("words"), 1, ""),
    "interrupt": (KeyboardInterrupt(), 1, "sfgkeras: stopped; saved states are kept, the same command resumes\n"),
    "abort": (click.Abort(), 1, "sfgkeras: stopped; saved states are kept, the same command resumes\n"),
    "usage": (click.BadParameter("is no list"), 2, "Error: Invalid value: is no list\n"),
}


@pytest.fixture
def verbs(monkeypatch):
    """A group with one verb, `end`, that ends as it is told."""

    @click.group()
    @click.option("--debug", is_flag=True)
    def group(debug):
        pass

    @group.command()
    @click.argument("how")
    def end(how):
        click.echo(f"ends by {how}")
        error, _, _ = ENDINGS[how]
        if error is not None:
            raise error

    monkeypatch.setattr(process, "commands", group)


@pytest.mark.parametrize("how", ENDINGS)
def test_each_way_to_end_has_its_code_and_its_one_line(how, verbs, capsys):
    _, code, said = ENDINGS[how]
    if code:
        with pytest.raises(SystemExit) as ended:
            process.main(["end", how])
        assert ended.value.code == code
    else:
        process.main(["end", how])
    out, err = capsys.readouterr()
    assert (out, err.splitlines(keepends=True)[-1:]) == (f"ends by {how}\n", [said] if said else [])


def test_a_wrong_call_shows_how_the_verb_is_called(verbs, capsys):
    with pytest.raises(SystemExit) as ended:
        process.main(["end"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("Usage: sfgkeras end")
    assert "Try 'sfgkeras end --help' for help." in told
    assert told.endswith("Error: Missing argument 'HOW'.\n")


@pytest.mark.parametrize("arguments", [["--debug", "end", "fault"], ["end", "fault", "--debug"]])
def test_with_debug_wherever_it_stands_the_error_comes_through(arguments, verbs, capsys):
    with pytest.raises(RuntimeError, match="one"):
        process.main(arguments)
    assert capsys.readouterr().err == ""


class Failing(io.StringIO):
    """A stream that raises from some write on."""

    def __init__(self, error, after=1):
        super().__init__()
        self.error, self.after = error, after

    def write(self, text):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().write(text)


def test_text_goes_on_until_the_first_failure_and_none_after_it():
    stream = Failing(OSError(28, "No space left on device"), after=1)
    output = Output(stream)
    assert output.write("one") == 3
    assert output.problem is None
    assert output.write("two") == 3
    assert output.problem.strerror == "No space left on device"
    stream.after = 10
    output.write("three")
    output.flush()
    assert stream.getvalue() == "one"


def test_a_reader_that_has_gone_ends_the_process_without_an_error():
    output = Output(Failing(BrokenPipeError(32, "Broken pipe"), after=0))
    with pytest.raises(ReaderGone) as gone:
        output.write("x")
    assert gone.value.code == 0


def test_what_else_a_stream_has_is_that_of_the_stream():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert Output(stream).encoding == "latin-1"
    with pytest.raises(AttributeError):
        _ = Output(stream).nothing


def test_streams_are_given_back_however_the_block_ends(capsys):
    before = sys.stdout
    with guarded_streams() as output:
        assert sys.stdout is output
    assert sys.stdout is before
    with pytest.raises(ValueError, match="inside"), guarded_streams():
        raise ValueError("inside")
    assert sys.stdout is before


def test_a_line_that_cannot_be_said_is_no_error(monkeypatch):
    for error in (OSError(28, "full"), ValueError("closed")):
        monkeypatch.setattr(sys, "stderr", Failing(error, after=0))
        say("lost")


def test_a_process_whose_output_was_full_fails_and_says_so(verbs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Failing(OSError(28, "No space left on device"), after=0))
    with pytest.raises(SystemExit) as ended:
        process.main(["end", "nothing"])
    assert ended.value.code == 1
    assert "standard output cannot be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"), [("a:1", ("a", 1)), ("site:a:12", ("site:a", 12)), ("a b:0", ("a b", 0))]
)
def test_a_slice_is_a_subject_and_a_number(text, expected):
    assert parse_slice(text) == expected


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:-1", "a:1.5", "a:x", ""])
def test_what_is_no_slice_is_refused(text):
    with pytest.raises(ConfigError, match="is no slice; write SUBJECT:NUMBER"):
        parse_slice(text)


def test_lists_of_names_and_of_fractions():
    assert parse_names(" a, b ,,c") == ["a", "b", "c"]
    assert parse_names("") == []
    assert parse_fractions("1, 0.25") == [1.0, 0.25]
    for text in ("", "1,", "a", "1;2"):
        with pytest.raises(ConfigError, match="is not a list of numbers; write e.g. 1,0.25"):
            parse_fractions(text)


def test_settings_of_steps_are_read_in_both_spellings():
    assert parse_settings(["--resample_spacing", "1,1,1", "--n4_engine=antspyx"]) == {
        "resample_spacing": "1,1,1", "n4_engine": "antspyx"
    }  # fmt: skip
    assert parse_settings(["--clip_limits=--5"]) == {"clip_limits": "--5"}
    with pytest.raises(ConfigError, match=r"unknown argument 'x'; settings are written --STEP_SETTING VALUE"):
        parse_settings(["x"])
    with pytest.raises(ConfigError, match=r"option '--a' has no value; write --a VALUE"):
        parse_settings(["--a"])


def test_a_setting_at_the_end_without_a_value_is_left_for_its_reader_to_refuse():
    assert split_inputs(["a.nii", "--MR.loader"]) == (["a.nii"], ["--MR.loader"])
    assert split_inputs([]) == ([], [])


def test_help_waits_for_no_library_that_it_does_not_need():
    """The table of settings takes a fifth of a second, TensorFlow several."""
    script = "import sys; from sfgkeras.cli import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown, modules = done.stdout.rsplit("\n", 2)[0], ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert "Usage: sfgkeras" in shown
    assert not {"sfgkeras.config", "pydantic", "numpy", "pandas", "keras", "tensorflow"} & set(modules)
