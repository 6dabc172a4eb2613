import io
import os
import pty
import re

import pytest

from sfgkeras import console
from sfgkeras.console import PlainReporter, RichReporter, build_reporter


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(console.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def plain():
    return PlainReporter(io.StringIO())


def lines(reporter):
    return reporter._stream.getvalue().splitlines()


def test_a_file_gets_plain_lines_and_a_terminal_bars():
    main, side = pty.openpty()
    with os.fdopen(side, "w") as terminal:
        assert isinstance(build_reporter(terminal), RichReporter)
    os.close(main)
    assert isinstance(build_reporter(io.StringIO()), PlainReporter)


def test_a_message_and_a_warning_are_one_line_each(plain):
    plain.message("tasks: ct [regression]")
    plain.warning("file is odd")
    assert lines(plain) == ["tasks: ct [regression]", "warning: file is odd"]


def test_a_stage_says_how_much_there_is_and_when_it_is_done(plain, clock):
    with plain.stage("training", 10, 4) as stage:
        for _ in range(5):
            clock.now += 1
            stage.advance(1, "loss 0.5")
        clock.now += 1
        stage.advance()
    assert lines(plain) == ["training: 6 to do, 4 done before", "training: 10 of 10 (loss 0.5) in 6 s"]


def test_a_long_stage_says_every_ten_seconds_how_long_it_will_take(plain, clock):
    with plain.stage("training", 100) as stage:
        for iteration in range(1, 13):
            clock.now += 5
            stage.advance(1, f"loss {1 / iteration:.2f}")
    assert lines(plain)[1:3] == [
        "training: 2 of 100 (loss 0.50), 8 min 10 s left",
        "training: 4 of 100 (loss 0.25), 8 min 00 s left",
    ]
    assert len(lines(plain)) == 1 + 6


def test_a_resumed_stage_reckons_with_its_own_speed_only(plain, clock):
    with plain.stage("training", 200, 100) as stage:
        clock.now += 1
        stage.advance()
        clock.now += 18
        stage.advance(9)
    assert lines(plain)[-1] == "training: 110 of 200, 3 min 00 s left"


def test_the_first_step_which_compiles_does_not_count_for_the_time_left(plain, clock):
    with plain.stage("training", 100) as stage:
        clock.now += 60
        stage.advance()
        for _ in range(10):
            clock.now += 1
            stage.advance()
    assert lines(plain)[1:] == ["training: 1 of 100", "training: 11 of 100, 1 min 29 s left"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"),
        (3660, "1 h 01 min"), (36000, "10 h 00 min"),
    ],
)  # fmt: skip
def test_durations_are_rounded_to_what_one_wants_to_know(seconds, words):
    assert console._duration(seconds) == words


def test_the_columns_of_a_plain_table_are_aligned(plain):
    rows = [["ct", 12.345678, 7], ["organs_and_more", float("nan"), 123456], ["x", 1e-9, "-"]]
    plain.table("results", ["task", "mae", "voxels"], rows)
    title, *table = lines(plain)
    assert title == "results"
    assert table == [
        "  task               mae  voxels",
        "  ct               12.35       7",
        "  organs_and_more      -  123456",
        "  x                1e-09       -",
    ]


def test_a_table_without_rows_shows_its_columns(plain):
    plain.table("nothing", ["a", "b"], [])
    assert lines(plain) == ["nothing", "  a  b"]


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo-terminal of 100 columns: the stream to write to, and a function that gives what was shown."""
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    main, side = pty.openpty()
    stream = os.fdopen(side, "w", buffering=1)
    os.set_blocking(main, False)

    def shown():
        stream.flush()
        parts = []
        while True:
            try:
                parts.append(os.read(main, 65536))
            except (BlockingIOError, OSError):
                break
            if not parts[-1]:
                break
        return b"".join(parts).decode()

    yield stream, shown
    stream.close()
    os.close(main)


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_bar_that_moves_and_the_note(terminal):
    stream, shown = terminal
    reporter = build_reporter(stream)
    with reporter.stage("training", 20, 5) as stage:
        stage.advance(5, "loss 0.75")
        reporter.message("validation at iteration 10: loss [0.7]")
        stage.advance(10)
    text = shown()
    assert "\x1b[" in text
    plain = without_codes(text)
    assert "training" in plain
    assert "20/20" in plain
    assert "loss 0.75" in plain
    assert "validation at iteration 10: loss [0.7]" in plain


def test_a_terminal_shows_warnings_in_yellow_and_tables_with_every_cell(terminal):
    stream, shown = terminal
    reporter = build_reporter(stream)
    reporter.warning("the file [x] is odd")
    reporter.table("[b]ct[/b] [CT]", ["task", "mae"], [["[ct]", 12.345678], ["organs", float("nan")]])
    text = shown()
    assert re.search(r"\x1b\[33mwarning: the file \[x\] is odd", text)
    plain = without_codes(text)
    assert "[b]ct[/b] [CT]" in plain
    assert "[ct]" in plain
    assert "12.35" in plain
    assert re.search(r"organs\W+-", plain)


def test_titles_and_notes_with_brackets_are_shown_as_they_are(terminal):
    stream, shown = terminal
    with build_reporter(stream).stage("reading [MR]", 2) as stage:
        stage.advance(2, "case [/x]")
    plain = without_codes(shown())
    assert "reading [MR]" in plain
    assert "case [/x]" in plain


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_columns_shows_everything_all_the_same(terminal, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    stream, shown = terminal
    reporter = build_reporter(stream)
    reporter.message("two errors")
    reporter.table("results", ["task", "mae"], [["ct", 12.345678]])
    with reporter.stage("training", 2) as stage:
        stage.advance(2)
    text = without_codes(shown())
    for part in ("two errors", "results", "12.35", "training"):
        assert part in text


def test_a_long_path_is_not_broken_over_lines_of_a_narrow_terminal(terminal):
    stream, shown = terminal
    path = "/data/" + "folder/" * 30 + "image.nii.gz"
    build_reporter(stream).message(path)
    assert path in without_codes(shown()).replace("\r\n", "\n")


WIDE = ["label", *(f"measure_{number} [mm]" for number in range(8))]
ROWS = [["right femoral head", *["0.812 ± 0.021"] * 8], ["bladder", *["12.3 ± 4.5 (2 missed)"] * 8]]


def test_a_table_wider_than_a_line_goes_on_below_with_its_first_column(plain):
    plain.table("organs", WIDE, ROWS)
    written = lines(plain)
    assert max(map(len, written)) <= 80
    assert [line.split()[0] for line in written if line and "measure" in line] == ["label"] * 4
    assert sum(line.count("12.3 ± 4.5 (2 missed)") for line in written) == 8
    assert sum("right femoral head" in line for line in written) == 4
    for name in WIDE[1:]:
        assert sum(name in line for line in written) == 1


def test_a_terminal_of_80_columns_cuts_no_cell():
    from rich.console import Console

    stream = io.StringIO()
    reporter = RichReporter(stream)
    reporter._console = Console(file=stream, width=80)
    reporter.table("organs", WIDE, ROWS)
    text = stream.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("12.3 ± 4.5 (2 missed)") == 8
    assert text.count("right femoral head") == 4


def test_the_blocks_of_a_table_are_of_about_one_width():
    assert console.column_blocks([6, 13, 13, 13, 13, 13], 80, 2) == [[0, 1, 2, 3], [0, 4, 5]]
    assert console.column_blocks([6, 13, 13, 13, 13], 80, 2) == [[0, 1, 2, 3, 4]]


def test_a_column_wider_than_a_line_stands_alone():
    assert console.column_blocks([5, 100, 3, 3], 80, 2) == [[0, 1], [0, 2, 3]]
    assert console.column_blocks([5, 3], 80, 2) == [[0, 1]]
    assert console.column_blocks([], 80, 2) == []
