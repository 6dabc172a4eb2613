"""[COMPARE]: a row is the file with its changes, and what is wrong with one names its line."""

import re

import pytest

from sfgkeras.config import find_config, read_config
from sfgkeras.errors import ConfigError

# Probabilities for three groups fit no row of one task.
DEMO = find_config("demo").read_text(encoding="utf-8").replace("init_categorical = 0.1, 0.1, 0.8\n", "\n")


@pytest.fixture
def study(tmp_path):
    """Returns a function: the lines of [COMPARE] -> the demo's INI file with them, and where they begin."""

    def make(rows, name="study.ini"):
        path = tmp_path / name
        path.write_text(f"{DEMO}\n[COMPARE]\n{rows}\n")
        return path, len(DEMO.splitlines()) + 3

    return make


def test_a_row_is_the_file_with_what_it_changes(study):
    path, _ = study(
        "base = tasks: organs\n"
        "both = tasks: ct, organs; weights: 1/1000, 0.8\n"
        "Narrow = network.width: 0.25 ; training.lr: 1e-4; TASK.ct.loss: huber # a comment\n"
        "split = network.sharing: hard_sharing;\n"
        "    MR.pixdim: 2, 2, 2; CT.pixdim: 2,2,2; ORGANS.pixdim: 2, 2, 2\n"
        "as-it-is ="
    )
    plain = read_config(path)
    assert plain.rows == ("base", "both", "narrow", "split", "as-it-is")
    rows = {name: read_config(path, row=name) for name in plain.rows}
    assert tuple(rows["base"].tasks) == ("organs",)
    assert {name: task.weight for name, task in rows["both"].tasks.items()} == {"ct": 0.001, "organs": 0.8}
    narrow = rows["narrow"]
    assert (narrow.network.width, narrow.training.lr, narrow.tasks["ct"].loss) == (0.25, 1e-4, "huber")
    assert rows["split"].network.sharing == "hard_sharing"
    assert {source.pixdim for source in rows["split"].sources.values()} == {(2, 2, 2)}
    assert rows["as-it-is"] == plain
    # What a row leaves out is left out on purpose.
    assert rows["base"].warnings == ()


def test_a_row_may_start_from_another_one(study):
    path, _ = study("tuned = tasks: organs; from: CT-only; freeze: trunk/.*_1_; restore: trunk\nct-only = tasks: ct")
    assert read_config(path).row_starts == {"tuned": "ct-only"}
    tuned = read_config(path, row="tuned")
    assert (tuned.training.vars_to_freeze, tuned.training.vars_to_restore) == ("trunk/.*_1_", "trunk")
    assert tuned.training.restore_from is None  # where that run lies is for the comparison to say
    assert read_config(path, row="ct-only").training == read_config(path).training


def test_rows_that_start_from_each_other_are_refused(study):
    path, line = study("a = from: b\nb = from: c\nc = from: a")
    with pytest.raises(ConfigError) as refusal:
        read_config(path)
    assert (
        f"{path}:{line}: [COMPARE] a = 'from: b' starts from itself; leave out one of a, b, c's from"
        in str(refusal.value).splitlines()
    )


def test_weights_without_tasks_are_those_of_the_files_tasks_in_their_order(study):
    path, _ = study("a = weights: 2, 3")
    assert {name: task.weight for name, task in read_config(path, row="a").tasks.items()} == {"ct": 2, "organs": 3}
    path.write_text(path.read_text().replace("tasks = ct, organs\n", "tasks = organs, ct\n"))
    assert {name: task.weight for name, task in read_config(path, row="a").tasks.items()} == {"organs": 2, "ct": 3}
    path.write_text(path.read_text().replace("tasks = organs, ct\n", "\n"))
    assert {name: task.weight for name, task in read_config(path, row="a").tasks.items()} == {"ct": 2, "organs": 3}


def test_measures_of_tasks_that_a_row_leaves_out_are_left_out(study, tmp_path):
    path, _ = study("a = tasks: organs\nb = tasks: ct")
    assert read_config(path).evaluation.evaluations == ("mae", "psnr", "dice", "average_distance")
    first, second = (read_config(path, row=name) for name in "ab")
    assert (first.evaluation.evaluations, first.evaluation.intensity_bounds) == (("dice", "average_distance"), {})
    assert (second.evaluation.evaluations, second.evaluation.intensity_bounds) == (
        ("mae", "psnr"),
        {"bone": (200, 3000)},
    )
    for config in (first, second):
        again = tmp_path / "again.ini"
        again.write_text(config.effective_text())
        assert read_config(again) == config
    with pytest.raises(ConfigError, match="has 'balanced_accuracy', which fits no task here"):
        read_config(path, [("EVALUATION.evaluations", "balanced_accuracy")], row="a")


def test_the_command_line_goes_before_a_row_and_may_give_one(study):
    path, _ = study("a = training.lr: 0.5; network.width: 0.25")
    overrides = [("TRAINING.lr", "0.125"), ("COMPARE.b", "network.width: 2")]
    found = read_config(path, overrides, row="a")
    assert (found.training.lr, found.network.width) == (0.125, 0.25)
    assert read_config(path, overrides).rows == ("a", "b")
    assert read_config(path, overrides, row="b").network.width == 2
    with pytest.raises(ConfigError, match=re.escape("--COMPARE.b: [COMPARE] b = 'network.width: 0' cannot be used")):
        read_config(path, [("COMPARE.b", "network.width: 0")])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a = tasks: ct, organ", "cannot be used: [MULTITASK] tasks = 'ct, organ' names 'organ', which has no"),
        ("a = tasks: ct, organ; weights: 1, 2", "cannot be used: [MULTITASK] tasks = 'ct, organ' names 'organ'"),
        ("a = tasks: ct; weights: 1, 2", "has 2 weights for 1 tasks (ct); give one for each"),
        ("a = weights: 1, heavy", "cannot be used: [TASK organs] weight = 'heavy' is not a number"),
        ("a = network.widht: 0.5", "cannot be used: [NETWORK] has no option 'widht', did you mean 'width'?"),
        ("a = netwrok.width: 0.5", "cannot be used: [netwrok] is not a known section, did you mean [NETWORK]?"),
        ("a = lr: 0.5", "sets 'lr', which names no section; write SECTION.KEY: VALUE"),
        ("a = task: ct", "sets 'task', which names no section, did you mean 'tasks'?"),
        ("a = tasks ct", "holds 'tasks ct', which sets nothing; write KEY: VALUE"),
        ("a = tasks: ct; tasks: organs", "sets tasks twice; keep one of them"),
        ("a = training.lr:", "gives training.lr no value"),
        ("a = system.seed: 3", "sets system.seed, which sfgkeras compare sets (every row is trained with each"),
        ("a = system.model_dir: x", "sets system.model_dir, which sfgkeras compare sets"),
        ("my row = tasks: ct", "is no row: a row's name has letters, digits"),
        ("a. = tasks: ct", "is no row: its folder would end in a dot, which some file systems leave out; write a"),
        (".. = tasks: ct", "is no row: a row's name has letters, digits"),
        ("a = tasks: ct; from: b", "starts from 'b', which is no row"),
        ("a = tasks: ct; from: A", "starts from itself; leave out one of a's from"),
        ("a = from: a.; freeze: x; training.vars_to_freeze: y", "sets freeze and TRAINING.vars_to_freeze, which are"),
        ("a = from: a; training.restore_from: x", "sets from and TRAINING.RESTORE_FROM, which are the same; keep one"),
        ("a = freeze: '('", "cannot be used: [TRAINING] vars_to_freeze = "),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_file_line_and_remedy(study, row, message):
    path, line = study(row)
    with pytest.raises(ConfigError) as refusal:
        read_config(path)
    (said,) = str(refusal.value).splitlines()
    assert said.startswith(f"{path}:{line}: [COMPARE] ")
    assert message in said


def test_what_a_row_breaks_elsewhere_is_told_with_the_row(study):
    path, line = study("fine = tasks: ct\na = multitask.init_categorical: 0.5, 0.5\nb = tasks: organs")
    path.write_text(path.read_text().replace("# Initial prob", "init_categorical = 0.1, 0.1, 0.8 # Initial prob"))
    with pytest.raises(ConfigError) as refusal:
        read_config(path)
    said = str(refusal.value).splitlines()
    # The file has probabilities for three groups, which do not fit one task.
    assert [text.partition(" = ")[0] for text in said] == [
        f"{path}:{line + number}: [COMPARE] {name}" for number, name in enumerate(("fine", "a", "b"))
    ]
    assert "cannot be used: [MULTITASK] init_categorical = '0.5, 0.5' has 2 numbers for 3 groups" in said[1]
    assert f"cannot be used: {path}:" in said[0]


def test_mistakes_of_the_file_are_told_once_and_not_again_for_every_row(study):
    path, _ = study("a = network.width: 0.5\nb = network.width: 0.25")
    with pytest.raises(ConfigError) as refusal:
        read_config(path, [("TRAINING.lr", "fast")])
    assert str(refusal.value) == "--TRAINING.lr: [TRAINING] lr = 'fast' is not a number"


def test_a_row_that_is_not_there_and_a_section_without_rows_are_refused(study, tmp_path):
    path, line = study("base = network.width: 0.5")
    with pytest.raises(ConfigError, match=re.escape("[COMPARE] has no row 'bse', did you mean 'base'?")):
        read_config(path, row="bse")
    path, line = study("")
    with pytest.raises(ConfigError, match=re.escape(f"{path}:{line - 1}: [COMPARE] has no row; write one on a line")):
        read_config(path)


def test_rows_of_a_file_with_one_task_have_no_tasks(tmp_path):
    path = tmp_path / "one.ini"
    text = find_config("segmentation").read_text(encoding="utf-8")
    path.write_text(f"{text}\n[COMPARE]\nwide = network.width: 2\n")
    assert read_config(path, row="wide").network.width == 2
    path.write_text(f"{text}\n[COMPARE]\nwide = weights: 2\n")
    with pytest.raises(ConfigError, match="sets weights, and the file has one task"):
        read_config(path)
