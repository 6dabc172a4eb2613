"""The group that all verbs belong to, and what they share: the INI file, and TensorFlow loaded late and quietly."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from sfgkeras import __version__
from sfgkeras.cli.arguments import parse_overrides
from sfgkeras.cli.descriptor import without_library_lines
from sfgkeras.cli.environment import load_keras

OVERRIDES = {"ignore_unknown_options": True, "allow_extra_args": True}
DATASETS = click.Choice(["training", "validation", "inference", "all"])


class Verb(click.Command):
    """A verb; where the shell asks, it knows the settings that may stand behind it."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns what an incomplete argument may become."""
        found = super().shell_complete(ctx, incomplete)
        if ctx.ignore_unknown_options:
            from sfgkeras.cli.completion import complete_setting

            found += complete_setting(ctx, incomplete)
        return found


class Verbs(click.Group):
    """The group of verbs."""

    command_class = Verb


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and what libraries log.")
def commands(debug: bool) -> None:
    """Multi-task learning for medical images with Stochastic Filter Groups.

    A run is described by one INI file. Every value of it can be given on the command line too:
    --TRAINING.max_iter 1000. `sfgkeras configs` lists the INI files that come with the package.
    """


def with_config(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb its `-c FILE`."""
    option = click.option(
        "-c",
        "--config",
        "config_name",
        required=True,
        metavar="FILE",
        help="INI file: a path, or the name of a shipped one.",
        shell_complete=complete_config,
    )
    return option(function)


def complete_config(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the shipped INI files by name, and lets the shell offer files."""
    from sfgkeras.cli.completion import complete_config as complete

    return complete(context, parameter, incomplete)


FOLD = "sfgkeras.fold"
"""Where the context of a verb keeps its `--fold`."""


def with_fold(without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb its `--fold K`, which `read_configuration` takes for `--TRAINING.fold K`.

    Args:
        without: What the verb does without it, for its help: "without it, all".
    """

    def keep(context: click.Context, _: click.Parameter, value: int | None) -> None:
        context.meta[FOLD] = value

    return click.option(
        "--fold",
        type=click.IntRange(min=1),
        metavar="K",
        expose_value=False,
        callback=keep,
        help=f"One fold of [TRAINING] folds; {without}.",
    )


def read_configuration(name: str, arguments: Sequence[str]) -> Any:
    """Reads the INI file of a verb, with the values that stand on the command line.

    Raises:
        ConfigError: Every mistake at once.
    """
    from sfgkeras.applications.subjects.preprocessing_settings import read_run
    from sfgkeras.config import find_config

    fold = click.get_current_context().meta.get(FOLD)
    own = [] if fold is None else [("TRAINING.fold", str(fold))]
    return read_run(find_config(name), [*parse_overrides(arguments), *own])


def load_tensorflow() -> None:
    """Imports TensorFlow; until the verb ends, its libraries write no line of their logs (with `--debug` they do).

    Raises:
        ConfigError: If `keras.json` cannot be used.
    """
    context = click.get_current_context()
    if not context.find_root().params.get("debug"):
        context.with_resource(without_library_lines())
    load_keras()
