"""`[TRAINING] schedule`: what it is where the file does not say it, and what has no place beside `auto`."""

import pytest

from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError
from sfgkeras.tables.grouping_schedules import Auto, Paper

INI = """\
[MR]
path_to_search = ./data
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
[SYSTEM]
model_dir = ./model
[NETWORK]
name = highresnet
[TRAINING]
max_iter = 1000
[MULTITASK]
image = MR
tasks = ct
[TASK ct]
type = regression
target = CT
"""
SFG = ("NETWORK.sharing", "sfg")
AUTO = ("TRAINING.schedule", "auto")


@pytest.fixture
def read(tmp_path):
    """Returns a function: lines by section, overrides -> the configuration."""

    def make(lines=None, *overrides):
        text = INI
        for section, line in (lines or {}).items():
            header = f"[{section}]\n"
            text = text.replace(header, f"{header}{line}\n") if header in text else f"{text}{header}{line}\n"
        path = tmp_path / "run.ini"
        path.write_text(text)
        return read_config(path, overrides)

    return make


def test_filter_groups_are_searched_for_unless_the_file_says_how_masks_are_drawn(read):
    training = read(None, SFG).training
    assert training.schedule == "auto"
    assert training.chosen_settings("schedule") == Auto()


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("MULTITASK", "gs_anneal_r = 1e-5"),  # the default, but said
        ("MULTITASK", "use_hardcat = yes"),
        ("SHARING", "per_sample = yes"),
        ("TRAINING", "restore_from = other"),
        ("TRAINING", "vars_to_freeze = head"),
        ("TRAINING", "stop_when_grouping_converges = yes"),
        ("INFERENCE", "monte_carlo = 4\nmasks = sample"),
    ],
)
def test_a_file_that_needs_drawn_masks_has_them_and_says_so_beside_auto(read, section, line):
    training = read({section: line}, SFG).training
    assert (training.schedule, training.chosen_settings("schedule")) == ("paper", Paper())
    if "1e-5" in line:
        assert read({section: line, "TRAINING": "schedule = auto"}, SFG).training.schedule == "auto"
        return
    changed = {section: line, "TRAINING": "schedule = auto"}
    if section == "TRAINING":
        changed = {"TRAINING": f"{line}\nschedule = auto"}
    with pytest.raises(ConfigError, match=rf"\[{section}\] {line.split(' ')[0]} = .*write schedule = paper, or remove"):
        read(changed, SFG)


@pytest.mark.parametrize(
    ("section", "line"), [("TRAINING", "stop_when_grouping_converges = no"), ("INFERENCE", "monte_carlo = 0")]
)
def test_what_asks_for_nothing_changes_nothing(read, section, line):
    assert read({section: line}, SFG).training.schedule == "auto"


def test_a_command_line_that_chooses_auto_leaves_drawn_masks_behind(read):
    config = read({"MULTITASK": "tau = 0.5"}, SFG, AUTO)
    assert config.training.schedule == "auto"
    assert config.multitask.tau == config.sharing.temperature[0] == 1.0
    assert "[MULTITASK] tau has no effect with [TRAINING] schedule = auto" in config.warnings
    with pytest.raises(ConfigError, match=r"--MULTITASK.tau.*has no effect"):
        read(None, SFG, AUTO, ("MULTITASK.tau", "0.5"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("auto_rungs", "0.5, 0.1", "is no list of rising fractions; write e.g. 0.125, 0.25, 0.5"),
        ("auto_rungs", "0.5, 1", "has an element 1.0 that must be below 1"),
        ("auto_candidates", "shared, tapred", "has no candidate 'tapred', did you mean 'tapered'"),
        ("auto_candidates", "shared, shared", "names a candidate twice"),
        ("auto_windows", "0", "must be at least 1"),
        ("auto_tolerance", "1", "must be below 1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(read, key, value, message):
    with pytest.raises(ConfigError, match=f"{key}.*{message}"):
        read(None, SFG, (f"TRAINING.{key}", value))


def test_settings_of_auto_choose_it_and_have_no_effect_without_filter_groups(read):
    line = {"TRAINING": "auto_rungs = 0.2", "MULTITASK": "gs_anneal_r = 1e-5"}
    assert read(line, SFG).training.chosen_settings("schedule") == Auto(rungs=(0.2,))
    (warning,) = [text for text in read(line, ("NETWORK.sharing", "hard_sharing")).warnings if "auto_" in text]
    assert warning == "[TRAINING] auto_... has no effect with [NETWORK] sharing = hard_sharing; use sfg"
    with pytest.raises(ConfigError, match="auto_rungs = '0.2' is a setting of auto, and schedule = paper"):
        read({"TRAINING": "auto_rungs = 0.2\nschedule = paper"}, SFG)


@pytest.mark.parametrize("lines", [{}, {"MULTITASK": "tau = 0.5"}, {"TRAINING": "auto_rungs = 0.2, 0.4"}])
@pytest.mark.parametrize("overrides", [(SFG,), (SFG, AUTO), (("NETWORK.sharing", "hard_sharing"),)])
def test_what_is_written_down_is_read_back(read, lines, overrides, tmp_path):
    config = read(lines, *overrides)
    path = tmp_path / "kept.ini"
    path.write_text(config.effective_text())
    assert read_config(path) == config


def test_rungs_are_iterations_and_too_few_are_none():
    assert Auto().rung_ends(1000) == (125, 250, 500)
    assert Auto().rung_ends(44) == (6, 11, 22)
    assert Auto().rung_ends(35) == ()
    assert Auto(rungs=(0.5,)).rung_ends(10) == (5,)
    assert Paper().rung_ends(1000) == ()
