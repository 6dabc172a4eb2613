"""The effective text of a configuration reads back to an equal one, whatever it holds."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.config import find_config, list_configs, read_config
from sfgkeras.config.known import SECTIONS
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.config.text import parse_ini
from sfgkeras.errors import ConfigError
from sfgkeras.quoting import split_list, unquote
from sfgkeras.values import (
    format_value,
    parse_bounds,
    parse_names,
    parse_number,
    parse_numbers,
    parse_text,
)

FULL = """\
[A source, odd]
path_to_search = "./a, b/(1)", './it''s', /c d
filename_contains = "x,y", (z), 100%%
filename_not_contains = "#1", ";"
filename_removefromid = ^(.*)_\\d+ ?[#;]"'
pixdim = 0.1, 1/3, 1e-3
axcodes = PIR
spatial_window_size = 32, 1, 48
scaling = ct
padding_value = -1024.5
[LABELS]
path_to_search = /data
layout = subject_folders
[SYSTEM]
model_dir = "./models/50% ; done"
cache_dir = ~/cache
dataset_split_file = /abs/split.csv
cuda_devices = 0, 2
mixed_precision = mixed_bfloat16
[NETWORK]
name = highresnet
histogram_ref_file = ../shared.json
window_sampling = weighted
cutoff = 0.05, 0.95
multimod_foreground_type = multi
[TRAINING]
lr = 0.1
random_flipping_axes = 0, 2
bias_field_range = -0.5, 0.5
validation_every_n = 10
exclude_fraction_for_validation = 0.1
best_metric = b_dice
vars_to_freeze = .*"quoted" # and a comment
[INFERENCE]
inference_iter = best
output_postfix = "  _spaced "
[EVALUATION]
intensity_bounds = bone: 200, 3000, soft = -200..200.5
[MULTITASK]
image = A SOURCE, ODD
tasks = b, a
weight = labels
sampler = labels
layer_scale = 0.3
init_categorical = 0.1, 0.2, 0.7
[TASK a]
type = regression
target = A source, odd
[TASK b]
type = segmentation
target = LABELS
num_classes = 3
"""


def round_trip(config, tmp_path: Path):
    path = tmp_path / "effective.ini"
    path.write_text(config.effective_text(), encoding="utf-8")
    return read_config(path)


def write(text: str, tmp_path: Path) -> Path:
    path = tmp_path / "run.ini"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["demo", "prostate", "prostate_duplicate", "segmentation", "utkface"])
def test_shipped_files_survive_a_round_trip(name, tmp_path):
    config = read_config(find_config(name))
    again = round_trip(config, tmp_path)
    assert again == config
    assert again.effective_text() == config.effective_text()


def test_odd_values_survive_a_round_trip(tmp_path):
    # A section name with a comma cannot be referred to in a list, so the file uses a plain one for that.
    text = FULL.replace("A source, odd", "A source").replace("A SOURCE, ODD", '"A  SOURCE"')
    config = read_config(write(text, tmp_path))
    assert config.sources["A source"].path_to_search == (Path("a, b/(1)"), Path("it's"), Path("/c d"))
    assert config.sources["A source"].filename_contains == ("x,y", "(z)", "100%")
    assert config.sources["A source"].filename_not_contains == ("#1", ";")
    assert config.sources["A source"].filename_removefromid == "^(.*)_\\d+ ?[#;]\"'"
    assert config.inference.output_postfix == "  _spaced "
    assert config.evaluation.intensity_bounds == {"bone": (200, 3000), "soft": (-200, 200.5)}
    assert config.training.vars_to_freeze == '.*"quoted"'
    assert config.network.width == 0.3
    assert round_trip(config, tmp_path) == config


def test_the_authors_and_one_task_spellings_survive_a_round_trip(tmp_path):
    head = "[X]\npath_to_search = x\nspatial_window_size = 8,8,8\n[Y]\npath_to_search = y\n"
    head += "[SYSTEM]\nmodel_dir = m\n[NETWORK]\nname = highresnet\n"
    authors = "[MULTITASK]\nimage = X\noutput_1 = Y\noutput_2 = Y\ntask_2_type = segmentation\n"
    authors += "loss_task_2 = DicePlusXEnt\nnum_classes = 1, 3\ninit_categorical = 0.1, 0.2, 0.7\n"
    authors += "[TRAINING]\nloss_type = Dice\n"
    one = "[REGRESSION]\nimage = X\noutput = Y\nscale = 0.5\nmetrics = MAE\n[TRAINING]\nloss_type = Huber\n"
    for text in (head + authors, head + one):
        config = read_config(write(text, tmp_path))
        again = round_trip(config, tmp_path)
        assert again == config
        assert again.application == config.application


def test_text_path_and_warnings_do_not_count_in_comparisons(tmp_path):
    config = read_config(find_config("demo"))
    assert round_trip(config, tmp_path).text != config.text
    other = read_config(find_config("demo"), [("TRAINING.lr", "0.5")])
    assert other != config


def test_every_key_is_in_the_effective_text(tmp_path):
    config = read_config(find_config("prostate"))
    sections = parse_ini(config.effective_text(), "x").sections
    for name in ("SYSTEM", "NETWORK", "TRAINING", "INFERENCE", "EVALUATION", "MULTITASK"):
        assert set(sections[name].entries) == {
            *SECTIONS[name].model_fields,
            *getattr(config, name.lower()).setting_lines(),
        }
    assert set(sections["TASK CT"].entries) == set(Task.model_fields)
    assert set(sections["MR"].entries) == set(InputSource.model_fields)


def test_a_run_started_elsewhere_with_overrides_is_described_by_its_effective_text(tmp_path):
    overrides = [("TRAINING.max_iter", "7"), ("NETWORK.sharing", "constant_p"), ("TASK.ct.weight", "0.25")]
    config = read_config(find_config("prostate"), [*overrides, ("TRAINING.stop_when_grouping_converges", "no")])
    again = round_trip(config, tmp_path)
    assert again == config
    assert (again.training.max_iter, again.network.sharing, again.tasks["ct"].weight) == (
        7,
        "constant_p",
        0.25,
    )
    assert not again.multitask.learn_categorical


@pytest.mark.parametrize("name", sorted(list_configs()))
def test_every_shipped_file_and_every_row_of_it_is_read_back(name, tmp_path):
    path = find_config(f"ini_configs/{name}")
    plain = read_config(path)
    for config in (plain, *(read_config(path, row=row) for row in plain.rows)):
        assert round_trip(config, tmp_path) == config


def test_list_configs_describes_every_shipped_file():
    configs = list_configs()
    assert set(configs) >= {"demo", "pets", "prostate", "prostate_duplicate", "segmentation", "utkface"}
    assert all(len(line) > 20 for line in configs.values())


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).filter(lambda t: t.strip())


@given(finite)
def test_any_finite_number_is_read_back(number):
    assert parse_number(format_value(number)) == number


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**6))
def test_fractions_are_divisions(numerator, denominator):
    assert parse_number(f"{numerator} / {denominator}") == float(numerator) / float(denominator)


@given(st.lists(finite, min_size=1), st.sampled_from(["{}", "({})", "[{}]", "'{}'", "( {} ,)"]))
def test_any_list_of_numbers_is_read_back_in_every_bracket(numbers, brackets):
    assert parse_numbers(brackets.format(format_value(tuple(numbers)))) == tuple(numbers)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True),
        st.tuples(finite, finite).map(sorted).map(tuple),
    )
)
def test_any_bounds_are_read_back(bounds):
    assert parse_bounds(format_value(bounds)) == bounds


@given(words)
@settings(max_examples=300)
def test_any_text_is_read_back_through_a_file(word):
    ini = parse_ini(f"[S]\nkey = {format_value(word)}", "x")
    assert not ini.problems()
    assert parse_text(ini.sections["S"].entries["key"].value) == word


@given(st.lists(words, min_size=1).map(tuple))
@settings(max_examples=300)
def test_any_list_of_texts_is_read_back_through_a_file(items):
    ini = parse_ini(f"[S]\nkey = {format_value(items)}", "x")
    assert not ini.problems()
    assert parse_names(ini.sections["S"].entries["key"].value) == items


VALUES = [
    "0",
    "-1",
    "1, 1, 1",
    "1, 1, 2",
    "x",
    "yes",
    "(",
    "nan",
    "MR",
    "sfg",
    "1e400",
    "segmentation",
    "vgg11",
]
DEMO = find_config("demo").read_text(encoding="utf-8").splitlines()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_back_equal_or_refused_with_places(tmp_path_factory, data):
    lines = list(DEMO)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(lines) - 1))
        damage = data.draw(st.sampled_from(["remove", "move", "cut", "value", "empty"]))
        line = lines.pop(position)
        key = line.partition("=")[0]
        if damage == "move":
            lines.insert(data.draw(st.integers(0, len(lines))), line)
        elif damage == "cut":
            lines.insert(position, line[: data.draw(st.integers(0, len(line)))])
        elif damage == "value":
            value = data.draw(st.sampled_from(["0", "-1", "1, 1, 1", "x", "yes", "(", "nan", "MR", "sfg", "1e400"]))
            lines.insert(position, f"{key}= {value}")
        elif damage == "empty":
            lines.insert(position, f"{key}=")
    folder = tmp_path_factory.mktemp("damaged")
    path = write("\n".join(lines), folder)
    try:
        config = read_config(path)
    except ConfigError as error:
        for message in str(error).splitlines():  # noqa: PT017
            assert message.startswith(f"{path}:")
        return
    assert round_trip(config, folder) == config


@given(st.text())
@settings(max_examples=300)
def test_no_text_breaks_the_parser(text):
    ini = parse_ini(text, "x")
    for section in ini.sections.values():
        for entry in section.entries.values():
            assert "\n" not in entry.value
            assert unquote(entry.value) is not None
            try:
                split_list(entry.value)
            except ValueError as error:
                assert "remove" in str(error) or "bracket" in str(error)  # noqa: PT017
