"""The reference of all INI keys, written from the models that read them: docs/configuration.md."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sfgkeras.config import choices
from sfgkeras.config.chosen import Choosing, choosing_keys
from sfgkeras.config.known import NOT_BUILT_SECTIONS, ONE_TASK_SECTIONS, REFUSED_KEYS, RUN_SECTIONS
from sfgkeras.config.mechanism import sharing_keys
from sfgkeras.config.sections import Network, Preprocessing, Section
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.settings import REQUIRED, described, key_of
from sfgkeras.tables.entry import aliases_of
from sfgkeras.tables.losses import LOSSES, loss_aliases
from sfgkeras.tables.measures import MEASURES, measures_by_type
from sfgkeras.tables.metrics import METRICS
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.tasks import TASK_TYPES, for_type
from sfgkeras.values import Reads, format_value

_INTRODUCTION = """\
# Configuration

One INI file describes a run: where its images are, what is learned from them, with which network, and what
is written. Section names and keys are NiftyNet's where the meaning is; what NiftyNet does not have is
marked (new). `sfgkeras configs` lists the files that are shipped and copies one to begin with; `sfgkeras
check -c FILE` reads a file and says what training would see.

This page is written by `sfgkeras.config.reference`; change the descriptions there, not here.

## How a file is read

- `[SECTION]`, then `key = value` lines. Letter case of sections, keys and choices does not matter.
- A line that starts with `#` or `;` is a comment, and so is the rest of a line after white space and one of
  them. Quotes around a value, or around one element of a list, keep such characters and commas.
- A list is `a, b, c`, with or without brackets. A line that is indented further than its key continues the
  value.
- `%` is a percent sign, and so is NiftyNet's `%%`. There is no interpolation: `%(name)s` is refused.
- Relative paths start from the folder in which the command is run, as in NiftyNet. Those of results
  (`dataset_split_file`, `histogram_ref_file`, `save_seg_dir`, `save_csv_dir`, `cache_dir`, and `output` of
  `[PREPROCESSING]`) start from `model_dir`, as in NiftyNet. `~` is the home folder.
- `--SECTION.KEY VALUE` on the command line replaces a value, e.g. `--TRAINING.max_iter 200` or
  `--TASK.ct.weight 2`.
- An empty value (`key =`) means the default where the default is empty; anywhere else it is a mistake.
- Every mistake is reported before any data is read, all at once: file, line, section, key, value and what
  to do.
- `train` writes the whole configuration with every default to `model_dir`.
"""

_SOURCES = """\
A section whose name is no other section's describes one kind of image, label map or table. Files of
different sources belong to one subject when the same subject id is left of their names.

| the files lie like this | the section says | subject ids |
|---|---|---|
| `scans/p1_mr.nii.gz`, `scans/p1_ct.nii.gz` | `path_to_search = scans`, `filename_contains = _mr` | `p1` |
| SynthRAD: `pelvis/1PA001/mr.nii.gz`, `pelvis/1PA001/ct.nii.gz` | `path_to_search = pelvis`, \
`layout = subject_folders`, `filename_contains = mr` | `1PA001` |
| Decathlon: `imagesTr/la_003.nii.gz`, \
`labelsTr/la_003.nii.gz` | `path_to_search = imagesTr`, and `labelsTr` in the section of the labels | `la_003` |
| nnU-Net: `imagesTr/la_003_0000.nii.gz`, `labelsTr/la_003.nii.gz` | `path_to_search = imagesTr`, \
`filename_contains = _0000` | `la_003` |
| BIDS: `bids/sub-01/anat/sub-01_T1w.nii.gz` | `path_to_search = bids`, `layout = subject_folders`, \
`filename_contains = _T1w` | `sub-01` |
| BIDS with sessions: `bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz` | `path_to_search = bids`, \
`layout = tree`, `filename_contains = _T1w` | `sub-01_ses-1` |
| DICOM: `scans/p1/T2/*.dcm`, `scans/p1/ADC/*.dcm` | `path_to_search = scans`, `layout = subject_folders`, \
`filename_contains = T2` | `p1` |
| anywhere else | `csv_file = t2.csv`, lines as below | as listed |

A `csv_file` has one line for each subject, id and path, and no header; relative paths start from its own folder,
else from the working folder. A folder with one DICOM series stands for its image.

    p1,/archive/2019/0042/t2.nii.gz
    p2,scans/p2_t2.nii.gz
    p3,/archive/dicom/p3/series_4

In a folder with subfolders named `sub-...` only these are subjects; `derivatives` and the like are passed over."""

_STEP_SETTINGS = """\
Besides these keys the section takes the settings of its steps, `<step>_<setting>`, such as `n4_shrink_factor` or
`resample_spacing`: those of the command line, listed in [preprocessing.md](preprocessing.md). Paths among them start
from the folder in which the command is run.

`train` preprocesses training and validation subjects before it begins, `inference` the subjects that it needs, and
`sfgkeras preprocess -c FILE` all of them. What was done before, by content and settings, is not done again. Landmarks
of `nyul` are fitted on the training subjects, and only there. Where a step changes the grid of the image, all other
sources of the subject are brought onto the new one when they are read, labels by the nearest voxel; results go back to
the grid of the original image."""

_SHARING = """\
Settings of the mechanism that `[NETWORK] sharing` chooses; a key of another one is refused. What `[MULTITASK]` (with
the keys of the paper's authors: `group_connection`, `init_categorical`, `random_p_init`, `use_hardcat`,
`batch_sampling`, `entropy_decay`, `tau`, `use_tau_annealing`, `gs_anneal_r`, `min_temp`; and with `cross_stitch_...`)
and `mask_residual` in `[NETWORK]` say of it may be said here or there; where both say something, it must be the same.
On the command line either has its way over the file."""

_MULTITASK = """\
Each task has a section `[TASK name]`; its name is that of the network's output and of the files that it
writes.

The authors' own spelling is understood too: `output_1`, `output_2` (input sources), `task_1_type`,
`loss_task_1`, `output_prob_task_1` and one `num_classes` per task (`num_classes = 1, 6`), all in
`[MULTITASK]`, with tasks named after their input source. In that spelling `init_categorical` has the
authors' order of groups: task 1, shared, task 2."""

_ONE_TASK = """\
Applications of one task use one of these instead of `[MULTITASK]`; the loss is `loss_type` in `[TRAINING]`,
the task's name in files and scores is the section's in lower case, and the network is a plain one (`sharing
= hard_sharing`)."""


_COMPARE = """\
The rows of a study, one on a line: a name, and what is changed in the file for it. `sfgkeras compare -c FILE` trains
all of them over seeds, on the same subjects, and writes one table; the other verbs read the file as it stands.

    [COMPARE]
    base = tasks: mask
    mtl-rec = tasks: mask, class, rec; weights: 0.8, 0.2, 1e-5
    shallow = tasks: mask; network.unet_levels: 3; training.lr: 1e-3
    tuned = tasks: mask; from: rec-only; freeze: trunk/convolution_(1|2)_
    rec-only = tasks: rec

| in a row | what it sets |
|---|---|
| `tasks: A, B` | `[MULTITASK] tasks` |
| `weights: 0.8, 0.2` | `weight` of each task of the row, in order |
| `from: ROW` | starts from what that row has learned with the same seed, wherever names are the same |
| `freeze: PATTERN` | `[TRAINING] vars_to_freeze`: variables that keep what they start with |
| `restore: PATTERN` | `[TRAINING] vars_to_restore`: the variables that are taken over; without it all |
| `SECTION.KEY: VALUE` | any other key, e.g. `network.width: 0.5`, `task.mask.loss: dice` |

Settings are parted by `;`, which begins no comment here. The first row is what the others are tested against. Names
have letters, digits and `- _ + .`. The command line goes before a row. Every row is checked whenever the file is read.
Measures of tasks that a row leaves out are left out too."""


def reference_markdown() -> str:
    """Returns the reference of sections, keys, defaults and refusals as Markdown."""
    parts = [_INTRODUCTION, "## Input sources", _SOURCES, _table(InputSource)]
    for name, model in RUN_SECTIONS.items():
        parts += [f"## [{name}]", _sentence(model), _table(model)]
        parts += [_STEP_SETTINGS] if model is Preprocessing else []
        parts += ["## [SHARING]", _SHARING, _mechanism_table()] if model is Network else []
    parts += [
        "## [MULTITASK]",
        _MULTITASK,
        _table(Multitask),
        "## [TASK name]",
        _sentence(Task),
        _table(Task),
    ]
    parts += ["## One-task applications", _ONE_TASK]
    for name, model in ONE_TASK_SECTIONS.items():
        parts += [f"### [{name}]", _sentence(model), _table(model)]
    parts += ["## [COMPARE]", _COMPARE]
    parts += ["## Losses, metrics and measures", _names_by_type()]
    parts += ["## What is refused", _refusals()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _sentence(model: type[Section]) -> str:
    text = (model.__doc__ or "").split(": ", 1)[-1].strip()
    return text[0].upper() + text[1:]


def _table(model: type[Section]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    choosing = {each.key: each for each in choosing_keys(model)}
    for key, info in model.model_fields.items():
        meaning = [info.description or "", _summaries(choosing[key])] if key in choosing else [info.description or ""]
        rows.append(f"| `{key}` | {_form(info)} | {_default(info.default)} | {' '.join(filter(None, meaning))} |")
        rows += _setting_rows(choosing[key]) if key in choosing else []
    for key, each in choosing.items():
        # A section of one task has settings of the loss, and loss_type in [TRAINING] chooses it.
        rows += _setting_rows(each, "loss_type" if key == "loss" else key) if key not in model.model_fields else []
    return "\n".join(rows)


def _cell(text: str) -> str:
    """Returns text for a cell of a table, whose bars are no ends of cells."""
    return text.replace("|", "\\|")


def _mechanism_table() -> str:
    rows = ["| key | of | value | default | meaning |", "|---|---|---|---|---|"]
    for key, names in sharing_keys().items():
        same: dict[tuple[str, str, str], list[str]] = {}
        for name in names:
            each = described(SHARING[name].settings_class())[key]
            same.setdefault((each.form, _default(each.default), each.description), []).append(f"`{name}`")
        rows += [
            f"| `{key}` | {', '.join(of)} | {form} | {default} | {_cell(meaning)} (new) |"
            for (form, default, meaning), of in same.items()
        ]
    mechanisms = "; ".join(f"`{name}`: {entry.summary}" for name, entry in SHARING.items())
    return "\n".join(rows) + f"\n\nThe mechanisms are {mechanisms}."


def _summaries(choosing: Choosing) -> str:
    """Returns what each entry of a table is; losses, which a type of task has, are listed elsewhere."""
    if set(choosing.tables) != {""}:
        return ""
    return "; ".join(f"`{name}`: {entry.summary}" for name, entry in choosing.tables[""].items()) + "."


def _setting_rows(choosing: Choosing, key: str = "") -> list[str]:
    """Returns the rows of the settings of all that a key may choose."""
    rows = {
        key_of(name, setting.name): f"| {setting.form} | {_default(setting.default)} | With "
        f"`{key or choosing.key} = {name}`: {setting.description[0].lower()}{setting.description[1:]} (new) |"
        for table in choosing.tables.values()
        for name, entry in table.items()
        for setting in described(entry.settings_class()).values()
    }
    return [f"| `{name}` {row}" for name, row in rows.items()]


def _form(info: FieldInfo) -> str:
    form = next(item.form for item in info.metadata if isinstance(item, Reads))
    bounds = []
    for item in info.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            bound = getattr(item, name, None)
            if bound is not None and not isinstance(item, Reads):
                bounds.append(f"{sign} {bound:g}")
    return ", ".join([form, *bounds])


def _default(value: Any) -> str:
    if value in (PydanticUndefined, REQUIRED):
        return "required"
    text = format_value(value) if not isinstance(value, Path) else str(value)
    return f"`{text}`" if text and text != '""' else ""


def _names_by_type() -> str:
    rows = [
        "| type | `loss` | `metrics` (validation) | `evaluations` |",
        "|---|---|---|---|",
    ]
    for kind in TASK_TYPES:
        cells = [[*for_type(LOSSES, kind)], [*for_type(METRICS, kind)], [*for_type(measures_by_type(), kind)]]
        rows.append(f"| {kind} | " + " | ".join(", ".join(f"`{name}`" for name in cell) for cell in cells) + " |")
    other_names = {**loss_aliases(), **aliases_of(MEASURES)}
    aliases = ", ".join(f"`{alias}` is `{name}`" for alias, name in other_names.items())
    rows += ["", f"The first loss of a type is its default; {aliases}.", ""]
    rows += ["| loss | of | what it is |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {kind} | {entry.summary} |"
        for kind in TASK_TYPES
        for name, entry in for_type(LOSSES, kind).items()
    ]
    rows += ["", "| measure | of | what it is |", "|---|---|---|"]
    rows += [f"| `{name}` | {entry.kind} | {entry.summary} |" for name, entry in MEASURES.items()]
    return "\n".join(rows)


def _refusals() -> str:
    not_built = {
        "name": choices.NOT_BUILT_NETWORKS,
        "evaluation_units": choices.NOT_BUILT_UNITS,
        "loader": choices.NOT_BUILT_LOADERS,
        "loss": choices.NOT_BUILT_LOSSES,
        "evaluations": choices.NOT_BUILT_EVALUATIONS,
    }
    rows = ["These are NiftyNet's or the authors', or have a place here and no code yet.", ""]
    rows += ["| what | instead |", "|---|---|"]
    rows += [f"| `[{name}]` | {remedy} |" for name, remedy in NOT_BUILT_SECTIONS.items() if name not in RUN_SECTIONS]
    rows += [f"| `{key}` | {remedy} |" for key, remedy in REFUSED_KEYS.items()]
    rows += [f"| `{key} = {word}` | {remedy} |" for key, words in not_built.items() for word, remedy in words.items()]
    return "\n".join(rows)


def write_reference(path: Path) -> None:
    """Writes the reference to a file.

    Args:
        path: The file, `docs/configuration.md`.
    """
    path.write_text(reference_markdown(), encoding="utf-8")


if __name__ == "__main__":
    write_reference(Path("docs/configuration.md"))
