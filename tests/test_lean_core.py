"""The lean core in an environment of its own: what works there, and what each thing that is missing says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGEST = 1024
"""MB that the core may take, of which sfgkeras itself has next to nothing."""

CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
"""Without what would lead Python, or pip, to the checkout."""

pytestmark = pytest.mark.slow(minutes=5)


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """The scripts of an environment with the wheel of this checkout and no extra."""
    folder = tmp_path_factory.mktemp("lean")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder / "dist", ROOT]
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run(pip, check=True, timeout=300, env=CLEAN)
    (wheel,) = (folder / "dist").glob("*.whl")
    scripts = folder / "venv" / "bin"
    install = [scripts / "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=900, env=CLEAN)
    if done.returncode:
        pytest.skip(f"the packages of the core cannot be had here: {done.stderr[-300:]}")
    return scripts


@pytest.fixture(scope="module")
def verb(lean, tmp_path_factory):
    """Runs a verb in an empty folder: exit code and what it said."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def call(*arguments):
        command = [lean / "sfgkeras", *arguments]
        done = subprocess.run(command, cwd=folder, env=CLEAN, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert call("phantom", "--output", "data/phantom", "--subjects", "4")[0] == 0
    assert call("configs", "segmentation")[0] == 0
    return call


def test_the_core_is_small_and_has_none_of_the_extras(lean):
    size = sum(path.stat().st_size for path in lean.parent.rglob("*") if path.is_file() and not path.is_symlink())
    assert size / 2**20 < LARGEST
    listed = subprocess.run(
        [lean / "pip", "list"], capture_output=True, text=True, check=True, env=CLEAN
    ).stdout.lower()
    for package in ("tensorflow", "plotly", "antspyx", "distributed", "onnx", "highdicom", "mlflow", "wandb"):
        assert package not in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("configs",),
        ("schema",),
        ("completion", "bash"),
        ("check", "-c", "segmentation.ini", "--headers-only"),
        ("plan", "--input", "data/phantom", "--output", "planned.ini"),
        ("preprocess", "--input", "data/phantom", "--output", "ready", "--steps", "whiten", "--no-pictures"),
    ],
)
def test_what_needs_no_extra_works(verb, arguments):
    code, said = verb(*arguments)
    assert code == 0, said


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "-c", "segmentation.ini"), "tensorflow"),
        (("demo", "--output", "demo"), "tensorflow"),
        (("report", "-c", "segmentation.ini"), "report"),
        (("dicom", "--series", "data", "--labels", "data/phantom/phantom_000_organs.nii.gz", "--output", "o"), "dicom"),
        (
            ("preprocess", "--input", "data/phantom", "--output", "o", "--steps", "register", "--register_reference",
             "data/phantom/phantom_000_mr.nii.gz"),
            "registration",
        ),
        (
            ("preprocess", "--input", "data/phantom", "--output", "o", "--steps", "whiten", "--scheduler", "tcp://a:1"),
            "cluster",
        ),
    ],
)  # fmt: skip
def test_what_needs_an_extra_says_which_and_ends_with_2(verb, arguments, extra):
    code, said = verb(*arguments)
    assert code == 2, said
    assert f'pip install "sfgkeras[{extra}]"' in said
    assert "Traceback" not in said


def test_from_python_too(lean):
    code = "import sfgkeras; sfgkeras.networks"
    done = subprocess.run(
        [lean / "python", "-c", code], capture_output=True, text=True, check=False, cwd=lean, env=CLEAN
    )
    assert 'pip install "sfgkeras[tensorflow]"' in done.stderr.splitlines()[-1]
