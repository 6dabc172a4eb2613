"""One frozen model per section of a run: system, network, training, inference, evaluation.

INI keys are NiftyNet's where the meaning is NiftyNet's; the descriptions are what the reference prints.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from sfgkeras import values
from sfgkeras.config import choices
from sfgkeras.config.network_section import MechanismSettings, Network
from sfgkeras.config.section import (
    AXES,
    BORDER,
    BOUNDS,
    INFERENCE_WINDOW,
    ITERATION,
    NAMES,
    NUMBER,
    OUTPUT_PATH,
    PATH,
    TEXT,
    WHOLE,
    YES_NO,
    Section,
)
from sfgkeras.config.training_section import Training
from sfgkeras.tables.class_maps import CLASS_MAPS
from sfgkeras.values import Reads, choice

__all__ = ["Evaluation", "Inference", "MechanismSettings", "Network", "Preprocessing", "Section", "System", "Training"]


class System(Section):
    """`[SYSTEM]`: where a run lives and what it runs on."""

    model_dir: Annotated[Path, PATH] = Field(
        description="Folder of the run: checkpoints, logs, and by default all else that it writes."
    )
    dataset_split_file: Annotated[Path, OUTPUT_PATH] = Field(
        default=Path("dataset_split.csv"),
        description="CSV of `subject_id,phase` without header, phase `training`, `validation` or "
        "`inference`. Drawn and written at the start of training where it does not exist.",
    )
    num_threads: Annotated[int, WHOLE] = Field(default=2, ge=1, le=256, description="CPU threads that make windows.")
    num_gpus: Annotated[int, WHOLE] = Field(
        default=1, ge=0, description="GPUs to use, at most (with `multi_worker`: each worker); 0 trains on the CPU."
    )
    cuda_devices: Annotated[str | None, Reads(values.parse_devices, "list of GPU numbers")] = Field(
        default=None, description="GPUs to see, by number; empty for all."
    )
    seed: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Seed of everything random: split, weights, masks, windows, augmentation. (new)",
    )
    strategy: Annotated[str, choice(choices.STRATEGIES)] = Field(
        default="auto",
        description="How training is spread: `auto` mirrors the network on several GPUs where there are; "
        "`multi_worker` trains, and infers, with several processes, named by TF_CONFIG or SLURM "
        "(docs/distributed.md). (new)",
    )
    mixed_precision: Annotated[str, choice(choices.PRECISIONS, choices.PRECISION_ALIASES)] = Field(
        default="none",
        description="Half-size numbers for features; variables, masks and losses stay float32. (new)",
    )
    jit_compile: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether XLA compiles the training step. (new)"
    )
    rematerialise: Annotated[str, choice(choices.REMATERIALISATIONS)] = Field(
        default="none",
        description="What training makes again for its gradients, in place of keeping it in memory: nothing, what "
        "normalisations and activations give (less than half the memory for a tenth more time), or everything in "
        "residual blocks, too. (new)",
    )
    cache_dir: Annotated[Path, OUTPUT_PATH] = Field(
        default=Path("cache"),
        description="Folder of prepared volumes, made once and mapped into memory. (new)",
    )


class Preprocessing(Section):
    """`[PREPROCESSING]`: what is done to the images once, before training and before inference."""

    # Settings of steps, `<step>_<setting>`, are whatever the table of steps has; a check of a higher layer knows it.
    model_config = ConfigDict(extra="allow")

    steps: Annotated[tuple[str, ...], NAMES] = Field(
        description="Steps in order, e.g. `n4, resample, nyul, whiten`; see docs/preprocessing.md. (new)"
    )
    sources: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="Input sources to preprocess, of those that the network sees; empty for all of them. (new)",
    )
    output: Annotated[Path, OUTPUT_PATH] = Field(
        default=Path("preprocessed"),
        description="Folder of the results, with a folder for each source; may serve several runs. (new)",
    )
    workers: Annotated[int, WHOLE] = Field(default=1, ge=1, le=256, description="Processes on this machine. (new)")
    scheduler: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Address of a dask.distributed scheduler to run on instead, e.g. `tcp://head:8786`. (new)",
    )
    pictures: Annotated[bool, YES_NO] = Field(
        default=True, description="Whether each subject is drawn before and after. (new)"
    )

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the steps as written, by `<step>_<setting>`."""
        return {key: str(value) for key, value in (self.model_extra or {}).items()}


class Inference(Section):
    """`[INFERENCE]`: windows, checkpoint and files of predictions."""

    spatial_window_size: Annotated[tuple[int, int, int] | None, INFERENCE_WINDOW] = Field(
        default=None,
        description="Window at inference, cut to the volume; 0, or -1, for the whole axis. Empty for whole slices "
        "where they cost no more than windows of training and fit into memory, else for these.",
    )
    border: Annotated[tuple[int, int, int], BORDER] = Field(
        default=(0, 0, 0), description="Voxels on each side of a window that are predicted but not used."
    )
    inference_iter: Annotated[int | Literal["best"], ITERATION] = Field(
        default=-1,
        description="Checkpoint to use: an iteration, -1 for the newest, or the one best in validation (`best`, the "
        "default with `[TRAINING] restore_best = yes`).",
    )
    save_seg_dir: Annotated[Path, OUTPUT_PATH] = Field(
        default=Path("predictions"), description="Folder of the predictions."
    )
    output_postfix: Annotated[str, TEXT] = Field(
        default="_predicted", description="What follows the subject in file names."
    )
    output_interp_order: Annotated[int, WHOLE] = Field(
        default=1,
        ge=0,
        le=3,
        description="Interpolation order on the way back to the subject's grid; label maps are exempt.",
    )
    fill_constant: Annotated[float | None, NUMBER] = Field(
        default=None,
        description="What voxels hold that no window covers, such as the border; empty for air in a CT (-1024 HU), and "
        "0 in other results.",
    )
    dataset_to_infer: Annotated[str, choice(("inference", "training", "validation", "all"), {"": "inference"})] = Field(
        default="inference", description="Which subjects, by phase."
    )
    flipping_axes: Annotated[tuple[int, ...], AXES] = Field(
        default=(),
        description="Axes along which images are mirrored besides, in every combination: results are means of all, "
        "mirrored back, for 2 to 8 times the work; -1 for none. (new)",
    )
    masks: Annotated[str, choice(("auto", "mode", "mean", "sample"))] = Field(
        default="auto",
        description="Filter masks: each filter's most probable group (mode), its probabilities (mean), a draw "
        "(sample), or by what training has reached (auto): mode once at least 95 % of the filters have a group with a "
        "probability of 0.9 or more, before that the mean of all draws. (new)",
    )
    monte_carlo: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Passes with masks drawn anew, for `masks = sample`: results are their mean, and maps of standard "
        "deviation (regression) or entropy and mutual information in nats (classes) are written besides. 0 for one "
        "pass without maps. (new)",
    )
    class_activation_maps: Annotated[str, choice({"none": "no maps", **CLASS_MAPS})] = Field(
        default="none",
        description="Whether inference writes, for every classification, a volume of how much each place speaks for "
        "the class, `<subject>_<task><output_postfix>_cam.nii.gz` or `..._grad_cam.nii.gz`. (new)",
    )
    class_activation_of: Annotated[int | None, WHOLE] = Field(
        default=None, description="The label whose map is written; empty for the predicted one. (new)"
    )
    blending: Annotated[str, choice(("gaussian", "none"))] = Field(
        default="gaussian",
        description="Weights where windows overlap: less towards the window's edge, or equal. (new)",
    )


class Evaluation(Section):
    """`[EVALUATION]`: what is measured on predictions."""

    evaluations: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="Measures; empty for the usual ones that fit the tasks (of a segmentation the first seven, of a "
        "regression the first four).",
    )
    evaluation_units: Annotated[str, choice(choices.EVALUATION_UNITS, not_built=choices.NOT_BUILT_UNITS)] = Field(
        default="label",
        description="What a segmentation is measured by: each label, or all of them as one.",
    )
    save_csv_dir: Annotated[Path, OUTPUT_PATH] = Field(default=Path("evaluation"), description="Folder of the tables.")
    intensity_bounds: Annotated[dict[str, tuple[float, float]], BOUNDS] = Field(
        default={},
        description="Ranges of the reference's intensity in which regression is measured once more. (new)",
    )
    mask: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Input source of a mask for each subject: everything is measured once more where it is not 0, as a "
        "region of its name. (new)",
    )
    body: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether everything is measured once more inside the body: the largest connected part of the first "
        "image's foreground (`foreground_type`), its holes filled. (new)",
    )
    surface_tolerance: Annotated[float, NUMBER] = Field(
        default=2.0,
        ge=0,
        description="Millimetres between two surfaces that `surface_dice` takes for agreement. (new)",
    )
