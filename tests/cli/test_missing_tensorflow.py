"""A machine without TensorFlow, which an installation for JAX or PyTorch is."""

import subprocess
import sys

PROGRAM = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == "tensorflow" else find(name, *args)
from sfgkeras.cli import main
sys.argv = ["sfgkeras", "demo", "--output", sys.argv[1]]
main()
"""


def test_a_verb_says_in_one_line_what_to_install(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "TensorFlow is not installed" in line
    assert 'pip install "sfgkeras[tensorflow]"' in line
