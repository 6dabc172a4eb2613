"""The process around a verb: the only exit codes, and what is said last."""

import os
import sys
from collections.abc import Sequence

import click

from sfgkeras.cli.group import commands
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
    try:
        commands.main(arguments, prog_name="sfgkeras", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USER)
    except (click.Abort, KeyboardInterrupt):
        click.echo("sfgkeras: stopped; saved states are kept, the same command resumes", err=True)
        sys.exit(EXIT_FAILURE)
    except Exception as error:
        if debug:
            raise
        is_users = isinstance(error, (ConfigError, DataError))
        text = str(error) if is_users else f"{type(error).__name__}: {_first_line(error)} (--debug shows where)"
        click.echo(f"sfgkeras: {text}", err=True)
        if isinstance(error, WorkerLost):
            # TensorFlow takes up to a minute to tidy up, all the while holding the port that the next start needs.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_FAILURE)
        sys.exit(EXIT_USER if is_users else EXIT_FAILURE)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
