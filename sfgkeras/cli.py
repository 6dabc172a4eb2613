"""The command line: one verb per function, the only exit codes; TensorFlow is loaded inside a verb, never before."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from sfgkeras import __version__
from sfgkeras.console import build_reporter
from sfgkeras.errors import ConfigError, DataError

EXIT_FAILURE = 1
EXIT_USER = 2
OVERRIDES = {"ignore_unknown_options": True, "allow_extra_args": True}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def commands(debug: bool) -> None:
    """Multi-task learning for medical images with Stochastic Filter Groups.

    A run is described by one INI file. Every value of it can be given on the command line too:
    --TRAINING.max_iter 1000. `sfgkeras configs` lists the INI files that come with the package.
    """


def _with_config(function: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "-c",
        "--config",
        "config_name",
        required=True,
        metavar="FILE",
        help="INI file: a path, or the name of a shipped one.",
    )
    return option(function)


@commands.command(context_settings=OVERRIDES)
@_with_config
@click.option("--restart", is_flag=True, help="Remove what an earlier run saved and begin anew.")
@click.pass_context
def train(context: click.Context, config_name: str, restart: bool) -> None:
    """Train a network; resumes where a killed run stopped."""
    config = _read_config(config_name, context.args)
    _load_tensorflow()
    from sfgkeras.applications import run

    run.train(config, build_reporter(), restart=restart)


@commands.command(context_settings=OVERRIDES)
@_with_config
@click.option("--dataset", type=click.Choice(["training", "validation", "inference", "all"]), help="Subjects to infer.")
@click.option("--overwrite", is_flag=True, help="Replace results of another checkpoint or other settings.")
@click.pass_context
def inference(context: click.Context, config_name: str, dataset: str | None, overwrite: bool) -> None:
    """Write the network's results on each subject's own grid."""
    config = _read_config(config_name, context.args)
    _load_tensorflow()
    from sfgkeras.applications import run

    run.infer(config, build_reporter(), dataset=dataset, overwrite=overwrite)


@commands.command(context_settings=OVERRIDES)
@_with_config
@click.option(
    "--dataset", type=click.Choice(["training", "validation", "inference", "all"]), help="Subjects to compare."
)
@click.pass_context
def evaluate(context: click.Context, config_name: str, dataset: str | None) -> None:
    """Compare results with the truth: a table, and CSV files per subject and in summary."""
    config = _read_config(config_name, context.args)
    from sfgkeras.applications import run

    run.evaluate(config, build_reporter(), dataset=dataset)


commands.add_command(evaluate, "evaluation")


@commands.command(context_settings=OVERRIDES)
@_with_config
@click.option("--headers-only", is_flag=True, help="Do not read the voxels: quicker, finds no bad labels and no NaN.")
@click.pass_context
def check(context: click.Context, config_name: str, headers_only: bool) -> None:
    """Check the INI file, the images and the labels; say what training will see."""
    config = _read_config(config_name, context.args)
    from sfgkeras.applications.checking import check_run

    if not check_run(config, build_reporter(), read_voxels=not headers_only):
        sys.exit(EXIT_USER)


@commands.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("sfgkeras_demo"), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the cohort and of the training.")
def demo(output: Path, seed: int) -> None:
    """Make a synthetic cohort, train, infer, evaluate and draw; about four minutes on two cores."""
    _load_tensorflow()
    from sfgkeras.applications.demo import run_demo

    run_demo(output, build_reporter(), seed=seed)


@commands.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--subjects", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--size", type=click.Choice(["full", "small"]), default="small", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def phantom(output: Path, subjects: int, size: str, seed: int, overwrite: bool) -> None:
    """Write a synthetic cohort of male pelves: T2 MR, CT and organ labels as NIfTI."""
    from sfgkeras.data.phantom import write_phantom_cohort

    reporter = build_reporter()
    with reporter.stage("phantoms", subjects) as stage:
        write_phantom_cohort(
            output, subjects, size=size, seed=seed, overwrite=overwrite, progress=lambda done, total: stage.advance()
        )
    reporter.message(f"wrote {subjects} subjects to {output}")


@commands.command()
@click.argument("name", required=False)
@click.option("--overwrite", is_flag=True, help="Replace an existing copy.")
def configs(name: str | None, overwrite: bool) -> None:
    """List the shipped INI files, or copy one into the working folder."""
    from sfgkeras.config import find_config, list_configs

    reporter = build_reporter()
    if name is None:
        reporter.table("INI files of the package", ["name", "what it is"], sorted(list_configs().items()))
        return
    source = find_config(f"ini_configs/{Path(name).stem}")
    target = Path(source.name)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists; add --overwrite to replace it")
    target.write_text(source.read_text())
    reporter.message(f"copied to {target}")


def _read_config(name: str, arguments: Sequence[str]) -> Any:
    from sfgkeras.config import find_config, read_config

    return read_config(find_config(name), parse_overrides(arguments))


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Turns `--SECTION.KEY VALUE` and `--SECTION.KEY=VALUE` into pairs.

    Raises:
        ConfigError: If an argument is neither, or a value is missing.
    """
    pairs: list[tuple[str, str]] = []
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, equals, value = option.partition("=")
        if not name.startswith("--") or "." not in name:
            raise ConfigError(f"unknown option {option!r}; settings are written --SECTION.KEY VALUE")
        if not equals:
            if not rest:
                raise ConfigError(f"option {option!r} has no value; write {option} VALUE")
            value = rest.pop(0)
        pairs.append((name.removeprefix("--"), value))
    return pairs


def _load_tensorflow() -> None:
    """Imports TensorFlow without the lines that its libraries write to stderr before any setting can stop them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 the user's mistake, 1 a failure."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        commands.main(arguments, prog_name="sfgkeras", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USER)
    except (click.Abort, KeyboardInterrupt):
        click.echo("sfgkeras: stopped; saved states are kept, the same command resumes", err=True)
        sys.exit(EXIT_FAILURE)
    except Exception as error:
        if "--debug" in arguments:
            raise
        is_users = isinstance(error, (ConfigError, DataError))
        text = str(error) if is_users else f"{type(error).__name__}: {_first_line(error)} (--debug shows where)"
        click.echo(f"sfgkeras: {text}", err=True)
        sys.exit(EXIT_USER if is_users else EXIT_FAILURE)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
