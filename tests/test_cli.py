import os
import subprocess
import sys

import pytest

from sfgkeras import cli
from sfgkeras.errors import ConfigError


def run_cli(*arguments, cwd=None):
    environment = {**os.environ, "COLUMNS": "120"}
    command = [sys.executable, "-c", "from sfgkeras.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_help_lists_the_verbs_without_loading_tensorflow():
    code = (
        "import sys\nfrom sfgkeras.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'tensorflow', 'keras', 'pandas', 'SimpleITK', 'ants'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in result.stdout
    for verb in ("train", "inference", "evaluate", "evaluation", "check", "report", "demo", "phantom", "configs"):
        assert verb in result.stdout


def test_overrides_are_read_in_both_spellings():
    pairs = cli.parse_overrides(["--TRAINING.max_iter", "20", "--SYSTEM.model_dir=/tmp/x"])
    assert pairs == [("TRAINING.max_iter", "20"), ("SYSTEM.model_dir", "/tmp/x")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_iter", "20"], "--TRAINING.max_iter"),
        (["--TRAINING.max_iter"], "has no value"),
        (["stray"], "'stray'"),
    ],
)
def test_a_malformed_override_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        cli.parse_overrides(arguments)


def test_an_unknown_file_is_the_users_mistake_and_one_line(tmp_path):
    result = run_cli("train", "-c", "nowhere.ini", cwd=tmp_path)
    assert result.returncode == 2
    assert "nowhere.ini" in result.stderr
    assert "Traceback" not in result.stderr


def test_configs_copies_a_shipped_file_but_never_over_an_existing_one(tmp_path):
    assert run_cli("configs", "demo", cwd=tmp_path).returncode == 0
    (tmp_path / "demo.ini").write_text("mine")
    result = run_cli("configs", "demo", cwd=tmp_path)
    assert result.returncode == 2
    assert "demo.ini" in result.stderr
    assert (tmp_path / "demo.ini").read_text() == "mine"


def test_an_unknown_verb_gives_exit_code_two():
    assert run_cli("trian", "-c", "x.ini").returncode == 2
