"""Output that is closed, full, read by nobody, or that cannot show a character."""

import errno
import io
import subprocess
import sys

import pytest

from sfgkeras.cli.streams import Output, ReaderGone

from .conftest import plain_environment


def shell(command, cwd):
    """Runs a line of bash in which `sfgkeras` is the command line; returns exit codes of its parts and its streams."""
    program = f'sfgkeras() {{ {sys.executable} -m sfgkeras "$@"; }}; {command}; echo "${{PIPESTATUS[@]}}" >codes'
    ended = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, cwd=cwd, env=plain_environment(), check=False
    )
    return [int(code) for code in (cwd / "codes").read_text().split()], ended.stdout, ended.stderr


@pytest.mark.parametrize("verb", ["check -c run.ini", "configs", "--help", "check --help", "phantom --output p"])
def test_a_reader_that_has_seen_enough_is_no_error(run_folder, verb):
    codes, shown, said = shell(f"sfgkeras {verb} | head -n 1", run_folder)
    assert (codes, said) == ([0, 0], "")
    assert len(shown.splitlines()) == 1


def test_what_a_verb_would_have_said_further_is_not_done_once_nobody_reads():
    stream = io.StringIO()
    stream.write = lambda text: (_ for _ in ()).throw(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    with pytest.raises(ReaderGone):
        Output(stream).write("line")
    assert not issubclass(ReaderGone, Exception), "code that goes on past errors must not catch it"


@pytest.mark.parametrize("verb", ["check -c run.ini", "configs", "--help"])
def test_a_full_disk_behind_standard_output_is_one_line_and_a_failure(run_folder, verb):
    codes, _, said = shell(f"sfgkeras {verb} >/dev/full", run_folder)
    assert codes == [1]
    assert said == "sfgkeras: standard output cannot be written (No space left on device): lines of it are missing\n"


def test_a_full_log_costs_no_work(run_folder):
    codes, _, said = shell("sfgkeras phantom --output made --subjects 2 >/dev/full", run_folder)
    assert codes == [1]
    assert "lines of it are missing" in said
    assert len(list((run_folder / "made").glob("*.nii.gz"))) == 6


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("sfgkeras check -c run.ini >&-", 0),
        ("sfgkeras check -c run.ini 2>&-", 0),
        ("sfgkeras check -c run.ini <&- >&- 2>&-", 0),
        ("sfgkeras check -c nowhere.ini 2>&-", 2),
        ("sfgkeras check -c nowhere.ini 2>/dev/full", 2),
        ("sfgkeras trian 2>/dev/full", 2),
        ("sfgkeras trian >&- 2>&-", 2),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(run_folder, command, code):
    codes, _, said = shell(command, run_folder)
    assert (codes, said) == ([code], "")


def test_no_file_gets_the_number_of_a_closed_stream(run_folder):
    """Else what a library logs to descriptor 2 would go into a result."""
    code = (
        "import os, sys\nfrom sfgkeras.cli.streams import guarded_streams\n"
        "with guarded_streams():\n    number = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "open('number', 'w').write(str(number))"
    )
    (run_folder / "open.py").write_text(code)
    subprocess.run(
        ["bash", "-c", f"{sys.executable} open.py >&- 2>&- <&-"], cwd=run_folder, env=plain_environment(), check=True
    )
    assert int((run_folder / "number").read_text()) > 2


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "1 ± 2 µm ✓"), ("latin-1", "1 ± 2 µm \\u2713"), ("ascii", "1 +- 2 um \\u2713")]
)
def test_a_character_that_the_stream_cannot_show_is_written_in_others(program, encoding, shown):
    code = "from sfgkeras.cli.streams import guarded_streams\nwith guarded_streams():\n    print('1 ± 2 µm ✓')"
    ended = program(f"import sys\nsys.stdout.reconfigure(encoding={encoding!r})\n{code}")
    raw = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.stdout.reconfigure(encoding={encoding!r})\n{code}"],
        capture_output=True, env=plain_environment(), check=True,
    ).stdout  # fmt: skip
    assert ended.code == 0
    assert raw.decode(encoding) == f"{shown}\n"
