"""The process around a verb: its environment, its streams, the only exit codes, and what is said last."""

import os
import sys
from collections.abc import Sequence

import click

from sfgkeras.cli.environment import settled
from sfgkeras.cli.group import commands
from sfgkeras.cli.streams import guarded_streams, say
from sfgkeras.errors import ConfigError, DataError, WorkerLost

EXIT_FAILURE = 1
EXIT_USER = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 the user's mistake, 1 a failure."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        # Wherever it stands; after a verb it would count as a setting.
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    with guarded_streams() as output, settled(debug) as told:
        for text in told:
            say(f"warning: {text}")
        code = _run(arguments, debug)
    if output.problem is not None and not isinstance(output.problem, BrokenPipeError):
        say(f"sfgkeras: standard output cannot be written ({output.problem.strerror}): lines of it are missing")
        code = code or EXIT_FAILURE
    if code:
        sys.exit(code)


def _run(arguments: Sequence[str], debug: bool) -> int:
    """Runs a verb and returns the exit code.

    Raises:
        Exception: With `debug`, whatever went wrong.
    """
    try:
        commands.main(arguments, prog_name="sfgkeras", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_FAILURE
    except click.ClickException as error:
        _show(error)
        return EXIT_USER
    except (click.Abort, KeyboardInterrupt):
        say("sfgkeras: stopped; saved states are kept, the same command resumes")
        return EXIT_FAILURE
    except Exception as error:
        if debug:
            raise
        is_users = isinstance(error, (ConfigError, DataError))
        say(f"sfgkeras: {error if is_users else f'{_first_line(error)} (--debug shows where)'}")
        if isinstance(error, WorkerLost):
            # TensorFlow takes up to a minute to tidy up, all the while holding the port that the next start needs.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_FAILURE)
        return EXIT_USER if is_users else EXIT_FAILURE
    return 0


def _show(error: click.ClickException) -> None:
    """Shows how a verb is called, and what is wrong with the call."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n")
    say(f"Error: {error.format_message()}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
