"""`[SHARING]`: the settings of the chosen mechanism, beside the keys of the paper's authors that say the same."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from sfgkeras.config import read_config
from sfgkeras.config.mechanism import OTHER_SPELLINGS, sharing_keys
from sfgkeras.config.reference import reference_markdown
from sfgkeras.errors import Problems
from sfgkeras.settings import described, setting
from sfgkeras.sharing import ConstantMask, CrossStitch, HardSharing
from sfgkeras.sharing.base import Sharing
from sfgkeras.tables.sharing import SHARING, SharingEntry

FILE = """\
[MR]
path_to_search = ./data
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
[SYSTEM]
model_dir = ./models/run
[NETWORK]
name = highresnet
sharing = {sharing}
[MULTITASK]
image = MR
[TASK ct]
type = regression
target = CT
[TASK t2]
type = regression
target = CT
[SHARING]
"""
OTHER_VALUES = {
    "routing": "dense", "mask_residual": "no", "initial_probabilities": "0.5, 0.25, 0.25", "assignment": "hard",
    "per_sample": "yes", "entropy_decay": "0.5", "temperature": "2, 0, 0.5", "fractions": "0.5, 0.25, 0.25",
    "weight": "0.7", "per_channel": "yes", "decay": "0.25",
    "subspaces": "3", "orthogonality": "0.25", "beta": "no", "initialisation": "uniform",
    "strength": "0.25", "distance": "absolute", "layers": "stage_1, */block_*",
    "task_layers": "2", "update_every": "7", "epsilon": "0.25", "covariances": "tasks",
    "same_start": "no", "order": "t2, ct", "trained": "in_turns", "period": "7",
    "cost_weight": "0.1", "group_multiple": "8",
}  # fmt: skip
"""Another value than the default of every setting."""


@pytest.fixture
def read(tmp_path):
    def read(sharing="sfg", lines="", multitask="", overrides=()):
        text = FILE.format(sharing=sharing).replace("[MULTITASK]\n", f"[MULTITASK]\n{multitask}\n") + lines
        path = tmp_path / "run.ini"
        path.write_text(text, encoding="utf-8")
        return read_config(path, overrides)

    read.path = tmp_path / "run.ini"
    return read


def refusal(read, *args, **kwargs):
    with pytest.raises(Problems) as caught:
        read(*args, **kwargs)
    return [str(problem).partition(": ")[2] for problem in caught.value.problems]


PAIRS = [(name, key) for name in SHARING for key in described(SHARING[name].settings_class()) if key in OTHER_VALUES]


@pytest.mark.parametrize(("name", "key"), PAIRS)
def test_every_setting_of_every_mechanism_is_read_and_told(name, key, read):
    config = read(name, f"{key} = {OTHER_VALUES[key]}")
    expected = described(type(config.sharing))[key].parse(OTHER_VALUES[key])
    assert getattr(config.sharing, key) == expected != getattr(read(name).sharing, key)
    assert type(config.sharing) is SHARING[name].load()
    read.path.write_text(config.effective_text(), encoding="utf-8")
    again = read_config(read.path)
    assert again == config
    assert again.warnings == ()


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in OTHER_SPELLINGS.items() for key in keys])
def test_what_another_section_says_too_means_the_same(name, key, read):
    said = read(name, f"{key} = {OTHER_VALUES[key]}")
    other = OTHER_SPELLINGS[name][key]
    holder = {"MULTITASK": said.multitask, "NETWORK": said.network}[other.section]
    assert other.read(holder) == getattr(said.sharing, key)
    in_file = {"MULTITASK": said.effective_text().partition("[MULTITASK]")[2].partition("[TASK")[0]}
    if other.section == "MULTITASK":
        lines = [line for line in in_file["MULTITASK"].splitlines() if line.partition(" =")[0] in other.keys]
        assert read(name, multitask="\n".join(lines)) == said


def test_the_network_is_built_with_the_mechanism_of_the_file(read):
    assert read("cross_stitch", "weight = 0.8").sharing == CrossStitch(weight=0.8)
    assert read("hard_sharing").sharing == HardSharing()
    assert read("constant_mask", "fractions = 1/2, 1/4, 1/4").sharing == ConstantMask(fractions=(0.5, 0.25, 0.25))


def test_both_spellings_may_agree_and_are_refused_where_they_differ(read):
    multitask = "group_connection = separate"
    assert read("sfg", "routing = separate", multitask).sharing.routing == "separate"
    assert refusal(read, "sfg", "routing = dense", multitask) == [
        "[SHARING] routing = 'dense' contradicts [MULTITASK] group_connection = separate; remove one of them"
    ]
    (message,) = refusal(read, "sfg", "temperature = 2, 0, 0.5", "tau = 3\nmin_temp = 0.5")
    assert "contradicts [MULTITASK] tau = 3.0 and min_temp = 0.5" in message


def test_the_command_line_has_its_way_over_the_other_spelling_of_the_file(read):
    routing = [("SHARING.routing", "dense")]
    assert read("sfg", multitask="group_connection = separate", overrides=routing).sharing.routing == "dense"
    connection = [("MULTITASK.group_connection", "mixed")]
    assert read("sfg", "routing = separate", overrides=connection).sharing.routing == "mixed"
    assert "contradicts" in refusal(read, overrides=[*routing, *connection])[0]


def test_a_key_of_another_mechanism_is_refused_by_name(read):
    assert refusal(read, "sfg", "weight = 0.8") == [
        "[SHARING] weight = '0.8' is a setting of cross_stitch and sluice, and [NETWORK] sharing = sfg; write "
        "sharing = cross_stitch, or remove the line"
    ]
    (message,) = refusal(read, "hard_sharing", "routing = dense")
    assert "is a setting of sfg and constant_mask and constant_p, and [NETWORK] sharing = hard_sharing" in message


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("sfg", "assignmnt = hard", "has no option 'assignmnt', did you mean 'assignment'?"),
        ("hard_sharing", "zzz = 1", "has no option 'zzz'; hard_sharing has no settings"),
        ("sfg", "learn_grouping = no", "has no option 'learn_grouping'"),
        ("constant_p", "entropy_decay = 1", "is a setting of sfg, and [NETWORK] sharing = constant_p"),
        ("sfg", "routing = dens", "routing = 'dens' is not known, did you mean 'dense'?"),
        ("sfg", "entropy_decay = -1", "entropy_decay = '-1' must be at least 0"),
        ("cross_stitch", "weight = 1.5", "weight = '1.5' must be at most 1"),
        ("sfg", "temperature = 1, 2", "has 2 values where 3 belong"),
        ("sfg", "initial_probabilities = 0.5, 0.5", "has 2 numbers for 3 groups; give one each for ct, t2, shared"),
        ("sfg", "initial_probabilities = evenly", "write one probability per group, or dirichlet or vertices"),
        ("constant_mask", "fractions = 0.5, 0.1, 0.1", "[SHARING] fractions = '0.5, 0.1, 0.1' sums to 0.7"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_remedy(name, lines, message, read):
    (found,) = refusal(read, name, lines)
    assert message in found


def test_settings_of_the_file_are_left_where_the_command_line_chooses_another_mechanism(read):
    config = read("sfg", "routing = dense\nentropy_decay = 1e-5", overrides=[("NETWORK.sharing", "hard_sharing")])
    assert config.sharing == HardSharing()
    assert config.warnings == ("[SHARING] routing has no effect with sharing = hard_sharing",)


def test_a_mechanism_of_a_new_line_in_the_table_brings_its_keys(read, monkeypatch):
    @dataclass(frozen=True)
    class Toy(Sharing):
        name: ClassVar[str] = "toy"
        vigour: float = setting(0.5, "How strong it is.", ge=0)

        def build_trunk(self, architecture, settings):
            raise NotImplementedError

    monkeypatch.setitem(SHARING, "toy", SharingEntry(lambda: Toy, "a toy"))
    config = read("toy", "vigour = 2")
    assert config.sharing == Toy(vigour=2.0)
    read.path.write_text(config.effective_text(), encoding="utf-8")
    assert read_config(read.path) == config
    assert sharing_keys()["vigour"] == ("toy",)
    assert "| `vigour` | `toy` | number, >= 0 | `0.5` | How strong it is. (new) |" in reference_markdown()
