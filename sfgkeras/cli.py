"""The command line: one verb per function, the only exit codes; TensorFlow is loaded inside a verb, never before."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sfgkeras import __version__
from sfgkeras.console import build_reporter
from sfgkeras.errors import ConfigError, DataError, WorkerLost

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
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write to, instead of model_dir/report.")
@click.option(
    "--subjects", default=3, show_default=True, type=click.IntRange(min=0), help="Subjects to show slices of."
)
@click.option("--activations", is_flag=True, help="Run the network to draw activation maps of its filters.")
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="SUBJECT:NUMBER",
    help="A slice for the activation maps; may be repeated.",
)
@click.pass_context
def report(
    context: click.Context,
    config_name: str,
    output: Path | None,
    subjects: int,
    activations: bool,
    slices: tuple[str, ...],
) -> None:
    """Write one self-contained HTML page of a run, and its figures as PNG, PDF and HTML."""
    config = _read_config(config_name, context.args)
    wanted = [parse_slice(text) for text in slices]
    if activations or wanted:
        _load_tensorflow()
    from sfgkeras.applications.report import write_report

    write_report(config, build_reporter(), output, subjects, activations, wanted)


@commands.command(context_settings=OVERRIDES)
@_with_config
@click.option("--task", help="The one task to keep; without it, all.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["keras", "saved_model", "onnx"]),
    default="keras",
    show_default=True,
    help="onnx needs: pip install 'sfgkeras[onnx]'.",
)
@click.option("--output", type=click.Path(path_type=Path), help="File or folder to write; by default in model_dir.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
@click.pass_context
def export(context: click.Context, config_name: str, **options: Any) -> None:
    """Write the hardened network: an ordinary model with no masks, no sampling and no wasted multiply."""
    config = _read_config(config_name, context.args)
    _load_tensorflow()
    from sfgkeras.applications.exporting import export_network

    export_network(config, build_reporter(), **options)


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


@commands.command(context_settings=OVERRIDES)
@click.option("-c", "--config", "config_name", metavar="FILE", help="INI file with [PREPROCESSING], or the next three.")
@click.option("--input", "inputs", type=click.Path(path_type=Path), help="Folder of NIfTI or DICOM series.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--steps", help="Steps in order, e.g. n4,resample,nyul,whiten.")
@click.option("--labels", type=click.Path(path_type=Path), help="Folder of label maps named as their images.")
@click.option(
    "--split", type=click.Path(path_type=Path), help="CSV subject_id,phase: landmarks are fitted on training."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Processes on this machine.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run on an existing dask.distributed cluster, e.g. tcp://host:8786."
)
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Draw each subject before and after.")
@click.option("--restart", is_flag=True, help="Do every subject anew, also those that were done before.")
@click.pass_context
def preprocess(context: click.Context, config_name: str | None, restart: bool, **options: Any) -> None:
    """Preprocess the images of an INI file, or a folder; resumes, and goes on past a bad file.

    With --input, settings of a step are written --STEP_SETTING VALUE, e.g. --resample_spacing 1.46,1.46,1.46; with
    -c FILE as every other value, e.g. --PREPROCESSING.resample_spacing 1.46,1.46,1.46.
    """
    given = [name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if config_name is None:
        _preprocess_folder(context.args, restart=restart, **options)
        return
    if given:
        name = given[0].removesuffix("s") if given[0] == "inputs" else given[0]
        raise ConfigError(
            f"--{name} stands beside -c; give an INI file, or --input, --output and --steps (with -c its values are "
            "written --PREPROCESSING.workers 2)"
        )
    config = _read_config(config_name, context.args)
    from sfgkeras.applications.preprocess import preprocess as preprocess_run

    sys.exit(preprocess_run(config, build_reporter(), restart=restart))


def _preprocess_folder(
    arguments: Sequence[str], inputs: Path | None, output: Path | None, steps: str | None, **options: Any
) -> None:
    missing = [name for name, value in (("--input", inputs), ("--output", output), ("--steps", steps)) if value is None]
    if inputs is None or output is None or steps is None:
        raise ConfigError(
            f"{' and '.join(missing)} missing; give an INI file with -c FILE, or --input DIR --output DIR --steps ..."
        )
    from sfgkeras.applications.folder_progress import FolderProgress
    from sfgkeras.preprocessing.folder import run_folder

    settings = parse_settings(arguments)
    reporter = build_reporter()
    with FolderProgress(reporter) as progress:
        result = run_folder(inputs, output, steps, settings, progress=progress.show, **options)
    reporter.message(
        f"{len(result.done)} done, {len(result.skipped)} done before, {len(result.failed)} failed: {output}"
    )
    for subject_id, reason in result.failed.items():
        reporter.warning(f"{subject_id}: {reason}")
    reporter.message(f"overview: {result.overview}")
    sys.exit(result.exit_code)


@commands.command(context_settings=OVERRIDES)
@click.option(
    "-c",
    "--config",
    "config_names",
    required=True,
    multiple=True,
    metavar="FILE",
    help="INI file; several are compared.",
)
@click.option("--sharing", default="", help="Mechanisms to compare, e.g. sfg,hard_sharing; default for one file: all.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each.")
@click.option("--fractions", default="1", show_default=True, help="Parts of the training subjects, e.g. 1,0.25.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder; default: comparison in model_dir.")
@click.pass_context
def compare(
    context: click.Context,
    config_names: tuple[str, ...],
    sharing: str,
    seeds: int,
    fractions: str,
    output: Path | None,
) -> None:
    """Train sharing mechanisms (or several INI files) over seeds on the same data; write one table.

    Resumes where it was stopped: runs that are done are not made again.
    """
    from sfgkeras.applications.comparison_plan import plan_files, plan_sharing
    from sfgkeras.config import find_config

    overrides = parse_overrides(context.args)
    paths = [find_config(name) for name in config_names]
    names = [name.strip() for name in sharing.split(",") if name.strip()]
    parts = _parse_fractions(fractions)
    if len(paths) > 1 and (names or parts != [1.0]):
        raise ConfigError(
            f"--sharing and --fractions vary one INI file, not {len(paths)}; leave them out, or give one -c"
        )
    output = output or _read_config(config_names[0], context.args).system.model_dir / "comparison"
    if len(paths) > 1:
        plan = plan_files(paths, seeds, output, overrides)
    else:
        plan = plan_sharing(paths[0], names, seeds, output, overrides, parts)
    _load_tensorflow()
    from sfgkeras.applications.comparing import compare as compare_runs

    compare_runs(plan, output, build_reporter())


def _parse_fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--fractions {text!r} is not a list of numbers; write e.g. 1,0.25") from None


@commands.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("sfgkeras_demo"), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the cohort and of the training.")
def demo(output: Path, seed: int) -> None:
    """Make a synthetic cohort, train, infer, evaluate and report; about four minutes on two cores."""
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
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    reporter.message(f"copied to {target}")


def _read_config(name: str, arguments: Sequence[str]) -> Any:
    from sfgkeras.applications.configuration import read_run
    from sfgkeras.config import find_config

    return read_run(find_config(name), parse_overrides(arguments))


def parse_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Turns `--NAME VALUE` and `--NAME=VALUE` into a dict.

    Raises:
        ConfigError: If an argument is neither, or a value is missing.
    """
    return dict(_pairs(arguments, "--STEP_SETTING VALUE"))


def _pairs(arguments: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, equals, value = option.partition("=")
        if not name.startswith("--"):
            raise ConfigError(f"unknown argument {option!r}; settings are written {form}")
        if not equals:
            if not rest:
                raise ConfigError(f"option {option!r} has no value; write {option} VALUE")
            value = rest.pop(0)
        yield name.removeprefix("--"), value


def parse_slice(text: str) -> tuple[str, int]:
    """Reads `SUBJECT:NUMBER`.

    Raises:
        ConfigError: If it is something else.
    """
    subject, _, number = text.rpartition(":")
    if not subject or not number.isdigit():
        raise ConfigError(f"--slice {text!r} is no slice; write SUBJECT:NUMBER, e.g. phantom_003:12")
    return subject, int(number)


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Turns `--SECTION.KEY VALUE` and `--SECTION.KEY=VALUE` into pairs.

    Raises:
        ConfigError: If an argument is neither, or a value is missing.
    """
    pairs = []
    for name, value in _pairs(arguments, "--SECTION.KEY VALUE"):
        if "." not in name:
            raise ConfigError(f"unknown option '--{name}'; settings are written --SECTION.KEY VALUE")
        pairs.append((name, value))
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
