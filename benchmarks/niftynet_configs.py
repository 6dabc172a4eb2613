"""Tries NiftyNet's own configuration files with `sfgkeras check`: the table of docs/niftynet.md.

    python benchmarks/niftynet_configs.py            writes the table into docs/niftynet.md

The files are made here from their keys and values, which are facts; what is put in place of their paths is a synthetic
cohort. A value of None in `changes` removes a line, and a section with a name of ours is added.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

MARK = ("<!-- table of benchmarks/niftynet_configs.py -->", "<!-- end of table -->")
Sections = dict[str, dict[str, str]]
# Voxels of every axis of the synthetic images, of 1 mm.
SIZE = 84


def source(contains: str, window: str, order: str, folder: str = "parcellation", **more: str) -> dict[str, str]:
    """One input section of NiftyNet's files."""
    found = {"path_to_search": f"{{data}}/{folder}", "filename_contains": contains, "filename_not_contains": ""}
    return found | {"spatial_window_size": window, "interp_order": order} | more


def normalisation(ref: str, foreground: str = "True", both: str = "True") -> dict[str, str]:
    """The intensity keys that most of NiftyNet's files share."""
    return {
        "histogram_ref_file": ref, "norm_type": "percentile", "cutoff": "(0.01, 0.99)", "normalisation": both,
        "whitening": both, "normalise_foreground_only": foreground, "foreground_type": "otsu_plus",
        "multimod_foreground_type": "and",
    }  # fmt: skip


def system(model: str, threads: str = "2", **more: str) -> dict[str, str]:
    """NiftyNet's `[SYSTEM]`."""
    return {"cuda_devices": '""', "num_threads": threads, "num_gpus": "1", "model_dir": f"./models/{model}"} | more


def network(name: str, batch: str, activation: str = "prelu", decay: str = "0", **more: str) -> dict[str, str]:
    """NiftyNet's `[NETWORK]`."""
    return {
        "name": name, "activation_function": activation, "batch_size": batch, "decay": decay, "reg_type": "L2"
    } | more  # fmt: skip


def training(samples: str, lr: str, loss: str, save: str, last: str, **more: str) -> dict[str, str]:
    """NiftyNet's `[TRAINING]`."""
    return {
        "sample_per_volume": samples, "lr": lr, "loss_type": loss, "starting_iter": "0", "save_every_n": save,
        "max_iter": last, "max_checkpoints": "20",
    } | more  # fmt: skip


TURNED = {"rotation_angle": "(-10.0, 10.0)", "scaling_percentage": "(-10.0, 10.0)"}
SPACED = {"pixdim": "(1.0, 1.0, 1.0)", "axcodes": "(A, R, S)"}
BRATS = "./example_volumes/multimodal_BRATS/standardisation_models.txt"
PARCELS = "./example_volumes/monomodal_parcellation/standardisation_models.txt"
LABELS = {"output_prob": "False", "label_normalisation": "True"}


def inference(folder: str, window: str, border: str, **more: str) -> dict[str, str]:
    """NiftyNet's `[INFERENCE]`."""
    return {"border": border, "save_seg_dir": f"./output/{folder}", "output_interp_order": "0"} | {
        "spatial_window_size": window
    } | more  # fmt: skip


def modalities(window: str) -> Sections:
    """The four images and the labels of the BraTS files."""
    where = "brats"
    return {
        "T1": source("T1", window, "3", where, filename_not_contains="T1c"),
        "Flair": source("Flair", window, "3", where),
        "T1c": source("T1c", window, "3", where),
        "T2": source("T2", window, "3", where),
        "label": source("Label", window, "0", where, filename_not_contains="T1"),
    }


def parcellation(window: str, label_window: str = "") -> Sections:
    """The image and the labels of the brain parcellation files."""
    return {
        "T1": source("T1", window, "3", **SPACED),
        "parcellation": source("Label", label_window or window, "0", **SPACED),
    }


def default_segmentation(bias: bool) -> Sections:
    """NiftyNet's toy segmentation, without and with random bias fields."""
    sections: Sections = {
        "modality1": source("T1", "(20, 42, 42)", "3", csv_file="", **SPACED),
        "label": source("Label", "(20, 42, 42)", "0", **SPACED),
        "SYSTEM": system("model_monomodal_toy"),
        "NETWORK": network("toynet", "1", decay="0.1", volume_padding_size="21", queue_length="20")
        | normalisation(PARCELS, both="False"),
        "TRAINING": training("32", "0.01", "Dice", "100", "10", random_flipping_axes="1"),
        "INFERENCE": inference("toy", "(0, 0, 3)", "(0, 0, 1)"),
        "SEGMENTATION": {"image": "modality1", "label": "label", "num_classes": "160"} | LABELS,
    }
    if bias:
        sections["TRAINING"] |= {"rotation_angle": "", "scaling_percentage": "", "bf_order": "3"}
        sections["TRAINING"] |= {"bias_field_range": "(-0.5, 0.5)"}
    else:
        sections["modality1"]["filename_removefromid"] = "_T1"
        sections["label"]["filename_removefromid"] = "_Label"
        sections["TRAINING"] |= TURNED
        sections["EVALUATION"] = {"evaluations": "Dice"}
    return sections


def regression(evaluated: bool) -> Sections:
    """NiftyNet's image regression, and its evaluation."""
    sections: Sections = {
        "INPUTIMAGE": source("pat", "(64, 64, 64)", "3", "images"),
        "REGRESSTARGET": source("pat", "(64, 64, 64)", "3", "images", filename_not_contains="()"),
        "TRAINING": training("32", "0.001", "RMSE", "200", "5000", tensorboard_every_n="20", optimiser="adam"),
        "NETWORK": network("highres3dnet", "2", decay="0.00001", volume_padding_size="(8, 8, 8)")
        | normalisation("./model/standardisation_models.txt", "False", "False")
        | {"window_sampling": "uniform", "reg_type": "L1"},
        "INFERENCE": inference("", "(136, 136, 136)", "(16, 16, 16)", output_interp_order="3"),
        "SYSTEM": system("model_monomodal_regression", queue_length="5"),
        "EVALUATION": {},
        "REGRESSION": {"output": "REGRESSTARGET", "image": "INPUTIMAGE", "loss_border": "8"},
    }
    if evaluated:
        del sections["REGRESSION"]["image"]
        sections["REGRESSION"]["inferred"] = "INPUTIMAGE"
        sections["EVALUATION"] = {"save_csv_dir": "./NiftyNetEvalTest", "evaluations": "mse,rmse,mae"}
    return sections


def multimodal(evaluated: bool) -> Sections:
    """NiftyNet's toy segmentation of four images, and its evaluation."""
    where, window = "brats", "(64, 64, 64)"
    sections: Sections = {}
    if evaluated:
        sections["seg"] = source("_seg,Correct", window, "0", where, csv_file="", filename_removefromid="_seg_Correct")
        label = source("Label", window, "0", where, csv_file="", filename_removefromid="_Label")
        sections["label"] = label | {"filename_not_contains": ""}
    else:
        sections |= {name: found | {"csv_file": ""} for name, found in modalities(window).items()}
    sections |= {
        "SYSTEM": system("model_multimodal_toy", queue_length="20"),
        "NETWORK": network("toynet", "1", volume_padding_size="21")
        | normalisation(BRATS, "False", "False" if evaluated else "True"),
        "TRAINING": training("32", "0.01", "WGDL", "100", "10"),
        "INFERENCE": inference("toy", window, "5"),
        "EVALUATION": {},
        "SEGMENTATION": {"image": "T1,T2,T1c,Flair", "label": "label", "weight": "T1", "num_classes": "5"} | LABELS,
    }
    if evaluated:
        measures = "dice,jaccard,false_positive_rate,positive_predictive_values,n_pos_ref,n_pos_seg"
        sections["EVALUATION"] = {"save_csv_dir": "./NiftyNetTestEval", "evaluations": measures}
        del sections["SEGMENTATION"]["image"]
        sections["SEGMENTATION"] |= {"inferred": "seg", "label_normalisation": "False"}
        sections["SEGMENTATION"] |= {"evaluation_units": "foreground"}
    return sections


def tumours(name: str, activation: str, loss: str) -> Sections:
    """NiftyNet's files of scalenet and holisticnet."""
    prob = {"output_prob": "False"}
    return modalities("(32, 32, 32)") | {
        "SYSTEM": system(f"model_{name}", "4"),
        "NETWORK": network(name, "1", activation, "0.1", volume_padding_size="21", queue_length="512")
        | normalisation(BRATS)
        | {"window_sampling": "uniform"},
        "TRAINING": training("5", "0.01", loss, "5", "6"),
        "INFERENCE": inference(name, "(64, 64, 64)", "(5, 5, 5)", **prob),
        "SEGMENTATION": {"image": "T1,T2,T1c,Flair", "label": "label", "num_classes": "5"} | LABELS,
    }


def brain(name: str, window: str, padding: str, lr: str, queue: str, at_inference: str, **more: str) -> Sections:
    """NiftyNet's files of networks for brain parcellation."""
    folder = {"nonewnet": "unet"}.get(name, name)
    border = more.get("border", "(5, 5, 5)")
    found = parcellation(window, more.get("label_window", "")) | {
        "SYSTEM": system(f"model_{folder}"),
        "NETWORK": network(name, more.get("batch", "1"), more.get("activation", "prelu"), volume_padding_size=padding)
        | normalisation(PARCELS)
        | {"queue_length": queue, "window_sampling": "uniform"},
        "TRAINING": training("32", lr, "Dice", "5", more.get("last", "10")) | TURNED,
        "INFERENCE": inference(folder, at_inference, border),
        "SEGMENTATION": {"image": "T1", "label": "parcellation", "num_classes": "160"} | LABELS,
    }
    if not border:
        del found["INFERENCE"]["border"]
    return found


def dense_vnet() -> Sections:
    """NiftyNet's file of dense_vnet, on whole volumes."""
    window, axes = "(144, 144, 144)", {"axcodes": "(A, R, S)"}
    return {
        "image": source("_T1c", window, "1", "brats", **axes),
        "label": source("_Label", window, "0", "brats", **axes),
        "SYSTEM": system("model_dense_vnet", queue_length="36"),
        "NETWORK": {
            "name": "dense_vnet", "batch_size": "6", "volume_padding_size": "0", "window_sampling": "resize",
            "histogram_ref_file": BRATS,
        },
        "TRAINING": {
            "sample_per_volume": "1", "lr": "0.001", "loss_type": "Dice", "starting_iter": "0",
            "save_every_n": "1000", "max_iter": "3001",
        },
        "INFERENCE": inference("dense_vnet", window, "(0, 0, 0)", inference_iter="3000"),
        "EVALUATION": {},
        "SEGMENTATION": {"image": "image", "label": "label", "num_classes": "2"} | LABELS,
    }  # fmt: skip


def weighted_regression() -> Sections:
    """NiftyNet's regression with a sampler and a weight map."""
    window = "(96, 96, 96)"
    sections = regression(False)
    for name in ("INPUTIMAGE", "REGRESSTARGET", "EVALUATION"):
        del sections[name]
    sections["NETWORK"] |= {"window_sampling": "weighted"}
    sections["INFERENCE"]["inference_iter"] = "600"
    sections["SYSTEM"]["model_dir"] = "./model/"
    return {
        "INPUTIMAGE": source("", window, "3", "whole"),
        "OUTPUTIMAGE": source("pat", window, "3", "images", filename_not_contains="()"),
        "RESIDUALS": source("", window, "3", "whole"),
        "SAMPWEIGHT": source("", window, "3", "whole"),
        **sections,
        "REGRESSION": {
            "output": "INPUTIMAGE", "image": "OUTPUTIMAGE", "weight": "RESIDUALS", "sampler": "SAMPWEIGHT",
            "loss_border": "8",
        },
    }  # fmt: skip


def first_format() -> Sections:
    """NiftyNet's file of evaluation in its first format."""
    return {
        "output modality 1": {"path_to_search": "{data}/brats", "filename_contains": "Lesion,group2"},
        "ref 1": {"path_to_search": "{data}/brats", "filename_contains": "Lesion"},
        "settings": {"application_type": "segmentation", "threshold": "0.5", "ext": ".nii.gz", "seg_type": "discrete"},
    }


def of_other_applications(kind: str) -> Sections:
    """NiftyNet's files of applications that have no counterpart here."""
    window = {"GAN": "(128, 128, 1)", "AUTOENCODER": "(24, 24, 24)", "REGISTRATION": "(80, 112, 80)"}[kind]
    name = {
        "GAN": "niftynet.network.simulator_gan.SimulatorGAN", "AUTOENCODER": "vae",
        "REGISTRATION": "niftynet.network.interventional_dense_net.INetDense",
    }[kind]  # fmt: skip
    loss = {"GAN": "CrossEntropy", "AUTOENCODER": "VariationalLowerBound", "REGISTRATION": "Dice_Dense"}[kind]
    own = {
        "GAN": {"image": "image0", "noise_size": "100"},
        "AUTOENCODER": {"image": "image0", "inference_type": "sample"},
        "REGISTRATION": {"fixed_image": "image0", "moving_image": "image0"},
    }[kind]
    return {
        "image0": source("T1", window, "3"),
        "SYSTEM": system("model"),
        "NETWORK": {"name": name, "batch_size": "2"},
        "TRAINING": training("1", "1e-5", loss, "500", "5000"),
        "INFERENCE": {"save_seg_dir": "./output"},
        kind: own,
    }


def faces(name: str, batch: str, second_loss: str, **more: str) -> Sections:
    """The paper authors' files: gender and age from photographs, given as images of one voxel."""
    held_out = more.pop("held_out", "0.90"), more.pop("validation", "0.075")
    return {
        "MODALITY1": source("", "(200, 200)", "3", "faces", csv_file="{data}/none/MODALITY1.csv"),
        "MODALITY2": source("", "(1, 1, 1)", "-1", "gender", csv_file="{data}/none/MODALITY2.csv"),
        "MODALITY3": source("", "(1, 1, 1)", "-1", "age", csv_file="{data}/none/MODALITY3.csv"),
        "TRAINING": training("1", "0.001", more.pop("loss_type", ""), "2000", "40000", validation_every_n="25")
        | {"exclude_fraction_for_inference": held_out[0], "exclude_fraction_for_validation": held_out[1]}
        | {"tensorboard_every_n": "5", "max_checkpoints": "40", "optimiser": "adam"},
        "NETWORK": network(name, batch, "relu", "0.0005", volume_padding_size="(0, 0, 0)", window_sampling="resize")
        | normalisation("./standardisation_models.txt", "False", "False")
        | {"whitening": "True"},
        "SYSTEM": system("vgg16", "16", queue_length="1000") | {"cuda_devices": "1"},
        "MULTITASK": {
            "image": "MODALITY1", "output_1": "MODALITY2", "output_2": "MODALITY3", "num_classes": "2, 1",
            "loss_task_1": "CrossEntropy", "loss_task_2": second_loss, "task_1_type": "classification",
            "task_2_type": "regression",
        } | more,
        "INFERENCE": inference("", "(-1, -1, -1)", "(0, 0, 0)", inference_iter="-1"),
    }  # fmt: skip


def demo(name: str, loss: str, window: str, sampling: str = "uniform", **task: str) -> Sections:
    """Files in the manner of NiftyNet's demos: PROMISE12, the hippocampus, selective sampling."""
    return {
        "image": source("T1", window, "3", axcodes="(A, R, S)"),
        "label": source("Label", window, "0", axcodes="(A, R, S)"),
        "SYSTEM": system("demo"),
        "NETWORK": network(name, "1", volume_padding_size="0", queue_length="8")
        | normalisation("standardisation_models.txt")
        | {"window_sampling": sampling},
        "TRAINING": training("4", "0.00002", loss, "100", "500", random_flipping_axes="1") | TURNED,
        "SEGMENTATION": {"image": "image", "label": "label", "num_classes": "160"} | LABELS | task,
    }


CONFIG: Mapping[str, Sections] = {
    "GAN_demo_train_config": of_other_applications("GAN"),
    "deepmedic_config": brain(
        "deepmedic", "(57, 57, 57)", "12", "0.01", "128", "(195, 195, 195)",
        label_window="(9, 9, 9)", batch="128", border="(36, 36, 36)",
    ),
    "default_eval_config": first_format(),
    "default_monomodal_regression": regression(False),
    "default_monomodal_regression_eval": regression(True),
    "default_multimodal_segmentation": multimodal(False),
    "default_multimodal_segmentation_eval": multimodal(True),
    "default_segmentation": default_segmentation(False),
    "default_segmentation_bf": default_segmentation(True),
    "densevnet_config": dense_vnet(),
    "highres3dnet_config": brain(
        "highres3dnet", "(32, 32, 32)", "21", "0.0001", "1", "(0, 0, 3)", activation="relu", last="6"
    ),
    "holisticnet_config": tumours("holisticnet", "elu", "WGDL"),
    "label_driven_registration": of_other_applications("REGISTRATION"),
    "scalenet_config": tumours("scalenet", "relu", "Dice"),
    "unet_config": brain("nonewnet", "(96, 96, 96)", "10", "0.01", "128", "(104, 104, 104)", border=""),
    "vae_config": of_other_applications("AUTOENCODER"),
    "vnet_config": brain("vnet", "(32, 32, 32)", "21", "0.0001", "1", "(0, 0, 3)", last="6"),
    "weighted_sample_regression": weighted_regression(),
}  # fmt: skip
AUTHORS: Mapping[str, Sections] = {
    "baseline_1_multi_task": faces("vgg_mt_baseline_1", "10", "RMSE"),
    "cross_stich": faces(
        "vgg_cross_stitch", "10", "RMSE", enable_cross_stich="True", held_out="0.15", validation="0.15"
    ),
    "multi_task_example": faces("vgg_learned_mt", "5", "MAE", loss_type="CrossEntropy"),
}
DEMOS: Mapping[str, Sections] = {
    "promise12_demo_train": demo("dense_vnet", "Dice", "(64, 64, 64)", "resize", min_numb_labels="2")
    | {"INFERENCE": {}},
    "learning_rate_demo": demo("highres3dnet", "CrossEntropy", "(24, 24, 24)", softmax="True"),
    "selective_seg": demo("toynet", "Dice", "(20, 42, 42)", rand_samples="0", compulsory_labels="0, 1"),
}


def write_ini(path: Path, sections: Sections, data: Path, work: Path) -> None:
    """Writes a file, with a synthetic cohort and a folder of its own in place of its paths."""
    lines = []
    for name, entries in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}".rstrip() for key, value in entries.items()), ""]
    text = "\n".join(lines).replace("{data}", str(data))
    text = re.sub(r"(?m)^model_dir = .*$", f"model_dir = {work}", text)
    # Which GPUs there are is the machine's, as its paths are.
    path.write_text(re.sub(r"(?m)^cuda_devices = .*$", 'cuda_devices = ""', text), encoding="utf-8")


def write_cohort(data: Path, subjects: int = 4) -> None:
    """Writes small images under the names that the files look for, from the synthetic pelves."""
    from scipy.ndimage import zoom

    from sfgkeras.phantom.pelvis import write_phantom_cohort

    write_phantom_cohort(data / "phantoms", subjects, size="small", seed=1)
    rng = np.random.default_rng(0)
    for number in range(subjects):

        def cube(name: str, order: int, number: int = number) -> np.ndarray:
            array = np.asarray(nib.load(data / "phantoms" / f"phantom_{number:03d}_{name}.nii.gz").dataobj)
            return zoom(array.astype(np.float32), [SIZE / length for length in array.shape], order=order)

        def save(name: str, array: np.ndarray, number: int = number) -> None:
            folder, _, ending = name.partition("/")
            (data / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), data / folder / f"s{number:02d}{ending}.nii")

        values, organs = cube("mr", 1).astype(np.int16), cube("organs", 0).astype(np.uint8)
        save("parcellation/_T1", values)
        # Five labels that are not consecutive, as in parcellations.
        save("parcellation/_Label", np.asarray([0, 4, 23, 30, 45, 45], np.int16)[organs])
        for name in ("_T1", "_T1c", "_T2", "_Flair"):
            save(f"brats/{name}", values)
        is_organ = (organs > 0).astype(np.int16)
        save("brats/_Label", 3 * is_organ)
        save("brats/_seg_Correct", 3 * np.roll(is_organ, 1, 0))
        save("images/pat", np.abs(values) + 1)
        save("whole/", np.abs(values) + 1)
        save("faces/", rng.normal(100, 20, (220, 210, 1)).astype(np.float32))
        save("gender/", np.full((1, 1, 1), number % 2, np.float32))
        save("age/", np.full((1, 1, 1), 0.2 + 0.1 * number, np.float32))


class _Heard:
    """Keeps what a check says."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def table(self, *_: object) -> None:
        pass

    def stage(self, title: str, total: int, done: int = 0) -> object:
        from sfgkeras.reporter import SilentReporter

        return SilentReporter().stage(title, total, done)


@dataclass
class Outcome:
    """What became of one file.

    Attributes:
        passes: Whether `check` passes on it as it is, but for its paths.
        renamed: The network's name that had to be changed, empty where none had.
        told: The warnings.
        refused: The messages, if it does not pass with another network's name either.
    """

    passes: bool = False
    renamed: str = ""
    told: list[str] = field(default_factory=list)
    refused: str = ""


def try_file(name: str, sections: Sections, data: Path, folder: Path) -> Outcome:
    """Checks one file, and once more with our network's name where we have none of that name."""
    from sfgkeras.applications.check import check_run
    from sfgkeras.applications.subjects.preprocessing_settings import read_run
    from sfgkeras.config.choices import NOT_BUILT_NETWORKS
    from sfgkeras.errors import ConfigError, DataError

    refused = ""
    own = sections.get("NETWORK", {}).get("name", "")
    for renamed in ("", NOT_BUILT_NETWORKS.get(own.lower(), "use highresnet").removeprefix("use ")):
        tried = {key: dict(entries) for key, entries in sections.items()}
        if renamed:
            tried["NETWORK"]["name"] = renamed
        path, heard = folder / f"{name}.ini", _Heard()
        write_ini(path, tried, data, folder / "models" / name)
        try:
            config = read_run(path)
            if check_run(config, heard):  # type: ignore[arg-type]
                told = [text.replace(f"{folder}/", "") for text in (*config.warnings, *heard.warnings)]
                return Outcome(not renamed, f"{own} -> {renamed}" if renamed else "", list(dict.fromkeys(told)))
            refused = "\n".join(heard.messages)
        except (ConfigError, DataError) as error:
            refused = str(error).replace(f"{folder}/", "")
        refused = refused.replace(f"{folder}/", "")
        if "NETWORK" not in sections or "does not exist in this version" not in refused:
            break
    return Outcome(refused=refused)


def table(data: Path, folder: Path) -> str:
    """Returns the table as Markdown, with what was told of each file."""
    rows = ["| file | `check` | what it says |", "|---|---|---|"]
    for group, files in (("config/", CONFIG), ("demos, in their manner", DEMOS), ("the paper's authors", AUTHORS)):
        outcomes = {name: try_file(name, sections, data, folder) for name, sections in files.items()}
        good = sum(outcome.passes or bool(outcome.renamed) for outcome in outcomes.values())
        rows.append(f"| **{group}** | **{good} of {len(files)}** | |")
        for name, outcome in outcomes.items():
            word = "passes" if outcome.passes else f"passes with `{outcome.renamed}`" if outcome.renamed else "refused"
            said = outcome.refused.splitlines() or outcome.told
            rows.append(f"| {name} | {word} | {'<br>'.join(_cell(text) for text in said[:6])} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return re.sub(r"/\S*/(?=[\w.]+)", ".../", text).replace("|", "\\|")


def main(page: Path = Path("docs/niftynet.md")) -> None:
    """Writes the table into the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "data")
        found = table(folder / "data", folder)
    before, _, rest = page.read_text(encoding="utf-8").partition(MARK[0])
    after = rest.partition(MARK[1])[2]
    page.write_text(f"{before}{MARK[0]}\n{found}\n{MARK[1]}{after}", encoding="utf-8")
    sys.stdout.write(found + "\n")


if __name__ == "__main__":
    main()
