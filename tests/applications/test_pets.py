"""pets.ini: its data line makes what it reads, and the study goes through the whole line on it."""

import csv
import shlex

import pytest
from click.testing import CliRunner

from sfgkeras.applications.check import check_run
from sfgkeras.applications.comparison.plan import plan_rows
from sfgkeras.applications.comparison.runs import compare
from sfgkeras.cli.group import commands
from sfgkeras.config import find_config, read_config

TINY = [
    ("PHOTOS.spatial_window_size", "32, 32, 1"),
    ("NETWORK.width", "1/16"),
    ("NETWORK.batch_size", "3"),
    ("TRAINING.max_epochs", "1"),
    ("TRAINING.lr", "1e-3"),
]


@pytest.mark.slow
@pytest.mark.ci_sample
def test_the_study_of_pets_runs_on_the_data_that_its_line_makes(tmp_path, monkeypatch, reporter):
    import sfgkeras.cli  # noqa: F401 registers the verbs

    monkeypatch.chdir(tmp_path)
    path = find_config("ini_configs/pets")
    (line,) = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# data: "))
    arguments = shlex.split(line.removeprefix("# data: "))
    assert arguments[:2] == ["sfgkeras", "phantom"]
    # The last of an option counts: small pictures of few subjects.
    ended = CliRunner().invoke(commands, [*arguments[1:], "--size", "small", "--subjects", "10"])
    assert ended.exit_code == 0, ended.output
    assert check_run(read_config(path, TINY), reporter), reporter.messages
    output = tmp_path / "study"
    plan = plan_rows(path, ["mtl-even", "mtl-rec-learned"], 1, output, TINY)
    rows = compare(plan, output, reporter, ["mtl-even", "mtl-rec-learned"])
    assert {(row["task"], row["measure"]) for row in rows} >= {
        ("mask", "voxel_accuracy"), ("mask", "jaccard"), ("mask", "dice"), ("class", "accuracy"), ("box", "box_iou"),
        ("rec", "mae"),
    }  # fmt: skip
    with (output / "table.csv").open(newline="") as file:
        mtl, learned = csv.DictReader(file)
    weights = [[line[f"weight {task}"] for task in ("mask", "class", "box", "rec")] for line in (mtl, learned)]
    assert weights[0] == ["1.0", "1.0", "1.0", ""]
    # Learned from 1, 1 and 1 / (2 e^8), which few steps change little.
    assert [round(float(weight), 1) for weight in weights[1][:2]] == [1.0, 1.0]
    assert abs(float(weights[1][3]) / 1.677e-4 - 1) < 0.1
    assert float(weights[1][3]) != 1.677e-4
    assert [line["epochs"] for line in (mtl, learned)] == ["1.0", "1.0"]
    with (output / "curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    assert {curve["measure"] for curve in curves} >= {"loss", "mask_dice", "class_accuracy", "box_box_iou"}
    assert {float(curve["epoch"]) for curve in curves} == {1.0}
    assert "Feature maps" in (output / "comparison.html").read_text(encoding="utf-8")
