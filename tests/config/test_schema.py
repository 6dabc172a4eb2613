"""The JSON schema of INI files says of single keys what reading says of them."""

import json

import pytest
from click.testing import CliRunner

from sfgkeras.applications.ini_schema import run_schema
from sfgkeras.cli import files  # noqa: F401  # its verbs join the group
from sfgkeras.cli.group import commands
from sfgkeras.config import find_config, list_configs, read_config
from sfgkeras.config.schema import ini_document, read_document
from sfgkeras.errors import ConfigError

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema():
    return run_schema()


@pytest.fixture(scope="module")
def problems(schema):
    validator = jsonschema.Draft202012Validator(schema)

    def find(text: str) -> list[str]:
        return [error.json_path for error in validator.iter_errors(ini_document(text, schema))]

    return find


def test_the_schema_is_one(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_verb_prints_it_and_replaces_no_file_unasked(schema, tmp_path):
    printed = CliRunner().invoke(commands, ["schema"])
    assert json.loads(printed.output) == schema
    path = tmp_path / "sfgkeras.schema.json"
    assert CliRunner().invoke(commands, ["schema", "--output", str(path)]).exit_code == 0
    assert json.loads(path.read_text(encoding="utf-8")) == schema
    path.write_text("mine", encoding="utf-8")
    assert "--overwrite" in str(CliRunner().invoke(commands, ["schema", "--output", str(path)]).exception)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", sorted(list_configs()))
def test_shipped_files_and_their_effective_texts_fit(name, problems):
    assert problems(find_config(name).read_text(encoding="utf-8")) == []
    assert problems(read_config(find_config(name)).effective_text()) == []


def changed(section: str, line: str, name: str = "prostate") -> str:
    """Returns a shipped file with one more line, or another value, in a section."""
    key = line.partition("=")[0].strip()
    lines, here = [], ""
    for each in find_config(name).read_text(encoding="utf-8").splitlines():
        here = each if each.startswith("[") else here
        if not (here == f"[{section}]" and each.partition("=")[0].strip() == key):
            lines.append(each)
        if each == f"[{section}]":
            lines.append(line)
    return "\n".join(lines)


WRONG = [
    ("TRAINING", "lr = fast"),
    ("TRAINING", "lr = 0"),
    ("TRAINING", "optimiser = adamm"),
    ("TRAINING", "max_itre = 5"),
    ("TRAINING", "momentum_momentum = 0.5"),  # of another optimiser
    ("NETWORK", "name = hghresnet"),
    ("NETWORK", "unet_levels = 3"),  # of another network
    ("NETWORK", "whitening = perhaps"),
    ("SYSTEM", "num_threads = 0"),
    ("MR", "pixdim = 1 mm"),
    ("MR", "layout = flatt"),
    ("TASK ct", "type = regresion"),
    ("TASK ct", "nunit = HU"),
    ("PREPROCESSING", "n4_shrink = 3"),
    ("PREPROCESSING", "n4_shrink_factor = three"),
    ("INFERENCE", "inference_iter = bets"),
]


@pytest.mark.parametrize(("section", "line"), WRONG)
def test_what_reading_refuses_in_one_key_the_schema_refuses(section, line, problems, tmp_path):
    from sfgkeras.applications.subjects.preprocessing_settings import read_run

    path = tmp_path / "run.ini"
    path.write_text(changed(section, line), encoding="utf-8")
    with pytest.raises(ConfigError):
        read_run(path)
    assert problems(path.read_text(encoding="utf-8"))


RIGHT = [
    ("TRAINING", "lr = 1/1000"),
    ("TRAINING", "optimiser = ADAM"),
    ("TRAINING", "adam_beta_1 = 0.8"),
    ("NETWORK", "whitening = True"),
    ("NETWORK", "name = my_module.Network"),
    ("INFERENCE", "inference_iter = best"),
    ("MR", "pixdim = (1, 1, 2.5)"),
    ("MR", "csv_file ="),
    ("PREPROCESSING", "bias_field_shrink_factor = 3"),
]


@pytest.mark.parametrize(("section", "line"), RIGHT)
def test_other_spellings_that_are_read_fit(section, line, problems):
    assert problems(changed(section, line)) == []


def test_settings_of_a_class_of_the_users_own_fit_where_it_is_chosen(problems):
    chosen = changed("NETWORK", "name = my_module.Network\nnetwork_depth = 3")
    assert problems(chosen) == []
    assert problems(changed("NETWORK", "network_depth = 3"))


def test_a_key_of_another_sharing_mechanism_does_not_fit(problems):
    text = find_config("demo").read_text(encoding="utf-8")
    assert problems(f"{text}\n[SHARING]\nrouting = mixed\n") == []
    assert problems(f"{text}\n[SHARING]\nsubspaces = 2\n")


def test_numbers_are_numbers_where_they_are_meant_and_text_where_not(schema, tmp_path):
    path = tmp_path / "run.ini"
    path.write_text("[mr]\nfilename_contains = 0001\n[training]\nlr = 1e-3\nmax_iter = 50\n", encoding="utf-8")
    document = read_document(path, schema)
    assert document["TRAINING"] == {"lr": 1e-3, "max_iter": 50}
    assert document["MR"] == {"filename_contains": "0001"}


def test_every_section_needs_its_own_and_one_application(problems):
    assert "$" in problems("[NETWORK]\nname = unet\n")
