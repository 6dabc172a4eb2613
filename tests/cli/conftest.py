"""Verbs as processes of their own, in pipes and on terminals, in the environment that a new user has."""

import os
import pty
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from sfgkeras.phantom.pelvis import write_phantom_cohort

OWN = {"TF_CPP_MIN_LOG_LEVEL", "PYTHONWARNINGS", "KERAS_BACKEND", "MPLBACKEND", "GRPC_VERBOSITY"}


@dataclass
class Ended:
    """A process that has ended: its exit code and what it wrote; a terminal shows both streams as one."""

    code: int
    stdout: str
    stderr: str = ""

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


def plain_environment(**variables):
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    return {**kept, "COLUMNS": "120", "TERM": "xterm-256color", "CUDA_VISIBLE_DEVICES": "", **variables}


def run_in_pipe(command, cwd=None, **options):
    environment = plain_environment(**options.pop("variables", {}))
    ended = subprocess.run(command, capture_output=True, cwd=cwd, env=environment, check=False, **options)
    return Ended(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))


def run_on_terminal(command, cwd=None, variables=None):
    main, side = pty.openpty()
    environment = plain_environment(**(variables or {}))
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, cwd=cwd, env=environment)
    os.close(side)
    parts = []

    def read():
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:
                return
            if not part:
                return
            parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait()
    reader.join()
    os.close(main)
    return Ended(code, b"".join(parts).decode(errors="replace"))


@pytest.fixture
def verb():
    """Returns a function that runs the command line: arguments, where (`pipe` or `terminal`), folder -> `Ended`."""

    def run(*arguments, where="pipe", cwd=None, **options):
        command = [sys.executable, "-m", "sfgkeras", *map(str, arguments)]
        return (run_in_pipe if where == "pipe" else run_on_terminal)(command, cwd, **options)

    return run


@pytest.fixture
def program():
    """Returns a function that runs Python code: code, where, folder -> `Ended`."""

    def run(code, where="pipe", cwd=None, **options):
        return (run_in_pipe if where == "pipe" else run_on_terminal)([sys.executable, "-c", code], cwd, **options)

    return run


INI = """
[MR]
path_to_search = {cohort}
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
spatial_window_size = 16, 16, 1
pixdim = 10, 10, 10
axcodes = R, A, S

[CT]
path_to_search = {cohort}
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 10, 10, 10
axcodes = R, A, S
scaling = ct
padding_value = -1024

[SYSTEM]
model_dir = model
seed = 3

[NETWORK]
name = highresnet
sharing = hard_sharing
batch_norm = population
width = 0.25
batch_size = 2
whitening = yes

[TRAINING]
max_iter = 2
save_every_n = 1
validation_every_n = 2
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = MR
tasks = ct

[TASK ct]
type = regression
target = CT
loss = rmse
"""


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Four small phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_cohort(folder, 4, size="small", seed=5)
    return folder


@pytest.fixture
def run_folder(tmp_path, cohort):
    """A folder with `run.ini`, of a run of two iterations."""
    (tmp_path / "run.ini").write_text(INI.format(cohort=cohort))
    return tmp_path
