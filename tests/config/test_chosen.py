"""Settings of what a key chooses, `<entry>_<setting>`: read, refused, written down and used."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from sfgkeras.config import read_config
from sfgkeras.config.known import sections_with
from sfgkeras.config.reference import reference_markdown
from sfgkeras.errors import Problem, Problems
from sfgkeras.settings import REQUIRED, Settings, described, setting
from sfgkeras.tables.entry import Entry
from sfgkeras.tables.loaders import LOADERS, LoaderEntry
from sfgkeras.tables.losses import LOSSES
from sfgkeras.tables.networks import NETWORKS, NetworkEntry
from sfgkeras.tables.optimisers import OPTIMISERS

MULTITASK = """\
[MR]
path_to_search = ./data
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
[ORGANS]
path_to_search = ./data
[SYSTEM]
model_dir = ./models/run
[NETWORK]
name = highresnet
[TRAINING]
[MULTITASK]
image = MR
[TASK ct]
type = regression
target = CT
[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3
"""
ONE_TASK = MULTITASK[: MULTITASK.index("[MULTITASK]")] + "[REGRESSION]\nimage = MR\noutput = CT\n"


@dataclass(frozen=True)
class ToySettings(Settings):
    depth: int = setting(2, "How deep it is.", ge=1)
    file: Path | None = setting(None, "What it reads.")


@dataclass(frozen=True)
class NeedySettings(Settings):
    file: Path = setting(REQUIRED, "File of the images.")


@pytest.fixture
def read(tmp_path):
    """Reads a file with lines added below headers: `read(TRAINING="lr = 1", TASK_ct="loss = mae")`."""

    def read(text=MULTITASK, **lines):
        for header, line in lines.items():
            header = header.replace("_", " ")
            assert f"[{header}]\n" in text
            text = text.replace(f"[{header}]\n", f"[{header}]\n{line}\n")
        path = tmp_path / "run.ini"
        path.write_text(text, encoding="utf-8")
        return read_config(path)

    return read


def refusal(read, *args, **lines):
    """Returns the problems that a file is refused with."""
    with pytest.raises(Problems) as caught:
        read(*args, **lines)
    return caught.value.problems


def test_settings_of_the_loss_are_read_beside_it_and_have_their_defaults(read):
    config = read(TASK_ct="loss = huber\nhuber_delta = 1/2")
    assert config.tasks["ct"].settings_of("loss") == {"delta": 0.5}
    assert read(TASK_ct="loss = huber").tasks["ct"].settings_of("loss") == {"delta": 1.0}
    assert read().tasks["ct"].settings_of("loss") == {}
    assert read().tasks["organs"].settings_of("loss") == {"include_background": True}


def test_settings_of_a_loss_may_be_written_with_its_other_name(read):
    lines = "loss = DicePlusXEnt\ndiceplusxent_include_background = no"
    assert read(TASK_organs=lines).tasks["organs"].settings_of("loss") == {"include_background": False}
    (problem,) = refusal(read, TASK_organs=f"{lines}\ndicecrossentropy_include_background = no")
    assert str(problem).endswith("repeats dicecrossentropy_include_background; remove one of them")


def test_a_section_of_one_task_has_the_settings_of_its_loss(read):
    config = read(ONE_TASK, TRAINING="loss_type = Huber", REGRESSION="huber_delta = 3")
    assert config.tasks["regression"].settings_of("loss") == {"delta": 3.0}
    (problem,) = refusal(read, ONE_TASK, TRAINING="loss_type = mae", REGRESSION="huber_delta = 3")
    assert problem.what == "is a setting of huber, and [TRAINING] loss_type = mae"
    assert problem.remedy == "write [TRAINING] loss_type = huber, or remove the line"
    (problem,) = refusal(read, ONE_TASK, TRAINING="loss_type = huber\nhuber_delta = 3")
    assert str(problem).endswith("[TRAINING] has no option 'huber_delta'; it belongs in [REGRESSION]")


def test_a_key_of_another_entry_is_refused_by_name(read):
    (problem,) = refusal(read, TASK_ct="huber_delta = 0.5")
    assert isinstance(problem, Problem)
    assert (problem.section, problem.key, problem.value) == ("TASK ct", "huber_delta", "0.5")
    assert problem.what == "is a setting of huber, and loss = rmse"
    assert problem.remedy == "write loss = huber, or remove the line"
    assert Path(problem.file).name == "run.ini"
    assert problem.line == 1 + MULTITASK.splitlines().index("[TASK ct]") + 1
    (problem,) = refusal(read, TASK_ct="tversky_false_positives = 0.5")
    assert (problem.what, problem.remedy) == ("is a setting of tversky, and loss = rmse", "remove the line")
    (problem,) = refusal(read, NETWORK="unet_levels = 3")
    assert problem.what == "is a setting of unet, and name = highresnet"


def test_an_empty_setting_of_another_entry_asks_for_nothing(read):
    assert read(TASK_ct="wgdl_distances =", TASK_organs="wgdl_distances =") == read()


def test_the_whole_configuration_tells_every_setting_and_reads_back_to_itself(read, tmp_path):
    lines = {"TRAINING": "optimiser = nesterov\nnesterov_momentum = 0.5", "TASK_ct": "loss = huber\nhuber_delta = 0.5"}
    config = read(**lines, NETWORK="window_sampling = uniform")
    assert config != read(**{**lines, "TASK_ct": "loss = huber\nhuber_delta = 0.25"})
    text = config.effective_text()
    for line in ("nesterov_momentum = 0.5", "huber_delta = 0.5", "dicecrossentropy_include_background = yes"):
        assert f"\n{line}\n" in text
    assert read(text) == config
    one = read(ONE_TASK, TRAINING="loss_type = huber", REGRESSION="huber_delta = 0.5")
    assert read(one.effective_text()) == one


def test_an_entry_of_a_table_brings_its_settings_into_every_section_and_the_reference(read, monkeypatch):
    monkeypatch.setitem(NETWORKS, "toy", NetworkEntry(lambda: None, "a toy", ToySettings))
    monkeypatch.setitem(OPTIMISERS, "toy", Entry(lambda: None, "a toy", ToySettings))
    monkeypatch.setitem(LOADERS, "needy", LoaderEntry(lambda: None, "a needy one", NeedySettings))
    text = MULTITASK.replace("name = highresnet", "name = toy")
    config = read(text, NETWORK="toy_depth = 5\ntoy_file = a b", TRAINING="optimiser = toy")
    assert config.network.settings_of("name") == {"depth": 5, "file": Path("a b")}
    assert config.training.settings_of("optimiser") == {"depth": 2, "file": None}
    assert read(config.effective_text()) == config
    reference = reference_markdown()
    assert "| `toy_depth` | whole number, >= 1 | `2` | With `name = toy`: how deep it is. (new) |" in reference
    assert "With `optimiser = toy`" in reference
    assert "| `needy_file` | path | required | With `loader = needy`: file of the images. (new) |" in reference
    (problem,) = refusal(read, CT="loader = needy")
    assert str(problem).endswith("[CT] needs needy_file for loader = needy; give file of the images")
    assert read(CT="loader = needy\nneedy_file = x.h5").sources["CT"].settings_of("loader") == {"file": Path("x.h5")}
    assert sections_with("toy_depth") == ["NETWORK", "TRAINING"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, table in LOSSES.items() for name, entry in table.items() if entry.settings],
)
def test_every_setting_of_every_loss_is_in_the_reference(kind, name):
    for setting_name in described(LOSSES[kind][name].settings_class()):
        assert f"| `{name}_{setting_name}` |" in reference_markdown()
