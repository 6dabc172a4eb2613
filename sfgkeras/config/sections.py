"""One frozen model per section of a run: system, network, training, inference, evaluation.

INI keys are NiftyNet's where the meaning is NiftyNet's; the descriptions are what the reference prints.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from sfgkeras import values
from sfgkeras.config import choices
from sfgkeras.settings import key_of, setting_values
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.entry import aliases_of
from sfgkeras.tables.networks import NETWORKS
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.padding import PADDING_MODES
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.schedules import SCHEDULES
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.stopping import STOPPING
from sfgkeras.values import Reads, choice

YES_NO = Reads(values.parse_yes_no, "yes / no")
WHOLE = Reads(values.parse_whole, "whole number")
NUMBER = Reads(values.parse_number, "number")
TEXT = Reads(values.parse_text, "text")
NAMES = Reads(values.parse_names, "list of words")
PATTERN = Reads(values.parse_pattern, "regular expression")
PATH = Reads(values.parse_path, "path")
PATHS = Reads(values.parse_paths, "list of paths")
OUTPUT_PATH = Reads(values.parse_path, "path, seen from `model_dir`")
WINDOW = Reads(values.parse_window, "three sizes in voxels")
INFERENCE_WINDOW = Reads(values.parse_inference_window, "three sizes in voxels, 0 for a whole axis")
BORDER = Reads(values.parse_border, "three sizes in voxels")
RANGE = Reads(values.parse_range, "two numbers, low and high")
CUTOFF = Reads(values.parse_cutoff, "two fractions, low and high")
AXES = Reads(values.parse_axes, "list of axes, 0 to 2")
BOUNDS = Reads(values.parse_bounds, "list of `NAME: LOW, HIGH`")
ITERATION = Reads(values.parse_iteration, "iteration / -1 / `best`")


class Section(BaseModel):
    """What all sections share: they cannot be changed, and know every key they have.

    A section may have settings of what its keys choose besides, such as those of a task's loss: see `config.chosen`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    _chosen: dict[str, Any] = PrivateAttr(default_factory=dict)

    def with_settings(self, key: str, settings: Any) -> Self:
        """Returns the section with the settings of what a key chooses; None where it has none."""
        copy = self.model_copy()
        copy._chosen = {**self._chosen, key: settings}
        return copy

    def chosen_settings(self, key: str) -> Any:
        """Returns the settings of what a key chooses, a frozen dataclass; None where nothing can be set."""
        return self._chosen.get(key)

    def settings_of(self, key: str) -> dict[str, Any]:
        """Returns the settings of what a key chooses by their names, every default filled in."""
        return setting_values(self.chosen_settings(key))

    def setting_lines(self) -> dict[str, Any]:
        """Returns the settings of all that the section chooses by their INI keys, `<entry>_<setting>`."""
        return {
            key_of(getattr(self, key), name): value
            for key in self._chosen
            if hasattr(self, key)
            for name, value in self.settings_of(key).items()
        }


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


class Network(Section):
    """`[NETWORK]`: the network, its windows and the intensities it is fed."""

    name: Annotated[str, choice(NETWORKS, not_built=choices.NOT_BUILT_NETWORKS, classes=True)] = Field(
        description="The network; `my.module.Class` is a class of your own (docs/niftynet.md)."
    )
    activation_function: Annotated[str, choice(choices.ACTIVATIONS, choices.ACTIVATION_ALIASES)] = Field(
        default="prelu", description="Activation after each normalisation."
    )
    batch_size: Annotated[int, WHOLE] = Field(default=10, ge=1, description="Windows per iteration, over all devices.")
    decay: Annotated[float, NUMBER] = Field(
        default=1e-6, ge=0, description="Weight of the penalty on kernels, lambda_1 of the paper."
    )
    reg_type: Annotated[str, choice(("L2", "L1"))] = Field(
        default="L2", description="Penalty on kernels: the sum of squares or of absolute values."
    )
    volume_padding_size: Annotated[tuple[int, int, int], BORDER] = Field(
        default=(0, 0, 0),
        description="Voxels added on both sides of each axis of the volume; cut off again in predictions.",
    )
    volume_padding_mode: Annotated[str, choice(PADDING_MODES)] = Field(
        default="minimum", description="What the added voxels hold, in NumPy's words."
    )
    window_sampling: Annotated[str, choice(SAMPLERS, not_built=choices.NOT_BUILT_WINDOW_SAMPLING)] = Field(
        default="uniform",
        description="Where windows lie.",
    )
    histogram_ref_file: Annotated[Path | None, OUTPUT_PATH] = Field(
        default=None,
        description="File of the histogram landmarks; fitted on the training subjects and written by `train`.",
    )
    norm_type: Annotated[str, choice(choices.NORM_TYPES)] = Field(
        default="percentile", description="Which landmarks histogram normalisation uses (Nyul et al. 2000)."
    )
    cutoff: Annotated[tuple[float, float], CUTOFF] = Field(
        default=(0.01, 0.99), description="Fractions of the voxels between which landmarks are taken."
    )
    normalisation: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether images get histogram normalisation; needs `histogram_ref_file`."
    )
    whitening: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether each channel of an image gets zero mean and unit variance, after normalisation.",
    )
    normalise_foreground_only: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether normalisation and whitening measure foreground voxels only."
    )
    foreground_type: Annotated[str, choice(choices.FOREGROUND_TYPES, choices.FOREGROUND_ALIASES)] = Field(
        default="otsu_plus",
        description="How the foreground is found: above or below a threshold, or above the mean.",
    )
    multimod_foreground_type: Annotated[str, choice(("and", "or", "all"), {"multi": "all"})] = Field(
        default="and",
        description="Foreground of several images: their intersection, their union, or each its own.",
    )
    weight_initializer: Annotated[str, choice(choices.WEIGHT_INITIALIZERS)] = Field(
        default="he_normal", description="Initial kernels, by their Keras name."
    )
    bias_initializer: Annotated[str, choice(choices.BIAS_INITIALIZERS)] = Field(
        default="zeros", description="Initial biases, by their Keras name."
    )
    keep_prob: Annotated[float, NUMBER] = Field(
        default=1.0, gt=0, le=1, description="Fraction of the features that dropout keeps; 1 switches it off."
    )
    queue_length: Annotated[int, WHOLE] = Field(default=10, ge=1, description="Batches made ahead of training.")
    smaller_final_batch_mode: Annotated[
        str, choice(("pad", "dynamic"), not_built={"drop": "it would leave holes in predictions; use pad"})
    ] = Field(
        default="pad",
        description="A last batch of inference that is not full: filled up and its surplus dropped, or run as it is.",
    )
    sharing: Annotated[str, choice(SHARING)] = Field(
        default="sfg",
        description="How tasks share filters; settings of the mechanism stand in `[SHARING]`. One-task applications "
        "default to `hard_sharing`, which is the plain network. (new)",
    )
    width: Annotated[float, NUMBER] = Field(
        default=1.0, gt=0, description="Factor on every layer's number of filters. (new)"
    )
    batch_norm: Annotated[str, choice(("recalibrated", "batch", "population"))] = Field(
        default="recalibrated",
        description="Statistics at inference: measured again after training, of the batch (the paper's), or "
        "moving averages. (new)",
    )
    mask_residual: Annotated[bool, YES_NO] = Field(
        default=True,
        description="Whether residual blocks stay within their stream's channels; hardening needs it. (new)",
    )


class MechanismSettings(Section):
    """`[SHARING]`: settings of the sharing mechanism; which there are, `config.mechanism` knows."""


class Training(Section):
    """`[TRAINING]`: optimisation, augmentation, validation and checkpoints."""

    optimiser: Annotated[str, choice(OPTIMISERS, aliases_of(OPTIMISERS))] = Field(
        default="adam",
        description="The optimiser.",
    )
    lr: Annotated[float, NUMBER] = Field(default=1e-3, gt=0, description="Learning rate.")
    grouping_lr: Annotated[float | None, NUMBER] = Field(
        default=None,
        gt=0,
        description="Learning rate of the grouping logits; empty for `lr`, as in the paper. Short runs need a larger "
        "one: with Adam the logits move by at most this much per iteration. (new)",
    )
    lr_schedule: Annotated[str, choice(SCHEDULES)] = Field(
        default="constant",
        description="How the learning rates change over the training, after `warm_up`. (new)",
    )
    warm_up: Annotated[int, WHOLE] = Field(
        default=0, ge=0, description="Iterations in which the learning rates rise to their full value. (new)"
    )
    clip_norm: Annotated[float | None, NUMBER] = Field(
        default=None,
        gt=0,
        description="Norm that the gradient of the whole objective is shortened to where it is longer; empty for none. "
        "(new)",
    )
    loss_type: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Loss of a one-task application; in `[MULTITASK]` each task has its own `loss`.",
    )
    balancing: Annotated[str, choice(BALANCING)] = Field(
        default="fixed", description="How the tasks' losses are weighed. (new)"
    )
    max_iter: Annotated[int | None, WHOLE] = Field(
        default=None, ge=0, description="Iterations in all, from 0; 10000 without `max_epochs`."
    )
    max_epochs: Annotated[int | None, WHOLE] = Field(
        default=None,
        ge=1,
        description="Epochs in all, in place of `max_iter`: in an epoch each training subject gives "
        "`sample_per_volume` windows; with `window_sampling = resize` that is each image once. Training ends at the "
        "iteration that holds the last window. (new)",
    )
    starting_iter: Annotated[int, WHOLE] = Field(
        default=0,
        ge=-1,
        description="0 or -1: continue from the newest checkpoint where there is one; N: start from that of iteration "
        "N, or continue what started from there. `train --restart` begins anew.",
    )
    save_every_n: Annotated[int, WHOLE] = Field(
        default=500, ge=0, description="Iterations between checkpoints; 0 saves at the end only."
    )
    max_checkpoints: Annotated[int, WHOLE] = Field(default=5, ge=1, description="Newest checkpoints to keep.")
    tensorboard_every_n: Annotated[int, WHOLE] = Field(
        default=20, ge=0, description="Iterations between entries of the logs; 0 for none."
    )
    sample_per_volume: Annotated[int, WHOLE] = Field(
        default=1, ge=1, description="Windows taken from a volume before the next volume's turn."
    )
    rotation_angle: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None, description="Random rotation in degrees."
    )
    scaling_percentage: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None, description="Random scaling in percent: -10 shrinks to 90 %."
    )
    isotropic_scaling: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether all axes are scaled by the same factor."
    )
    antialiasing: Annotated[bool, YES_NO] = Field(
        default=True,
        description="Whether images are smoothed before they are shrunk by random scaling.",
    )
    bias_field_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None, description="Coefficients of a random polynomial bias field."
    )
    bf_order: Annotated[int, WHOLE] = Field(default=3, ge=1, description="Order of its polynomial.")
    random_flipping_axes: Annotated[tuple[int, ...], AXES] = Field(
        default=(), description="Axes along which windows are flipped at random; -1 for none."
    )
    do_elastic_deformation: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether windows are deformed at random."
    )
    num_ctrl_points: Annotated[int, WHOLE] = Field(
        default=4, ge=2, description="Control points of the deformation per axis."
    )
    deformation_sigma: Annotated[float, NUMBER] = Field(
        default=15.0, gt=0, description="Standard deviation of their displacement, in voxels."
    )
    proportion_to_deform: Annotated[float, NUMBER] = Field(
        default=0.5, ge=0, le=1, description="Fraction of the windows that are deformed."
    )
    validation_every_n: Annotated[int, WHOLE] = Field(
        default=-1, ge=-1, description="Iterations between validations; 0 or -1 for none."
    )
    validation_every_epochs: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Epochs between validations, in place of `validation_every_n`: one follows the iteration that ends "
        "the epoch; 0 for none. (new)",
    )
    validation_max_iter: Annotated[int, WHOLE] = Field(default=1, ge=1, description="Batches per validation.")
    exclude_fraction_for_validation: Annotated[float, NUMBER] = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the subjects held out for validation when the split is drawn.",
    )
    exclude_fraction_for_inference: Annotated[float, NUMBER] = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the subjects held out for inference when the split is drawn.",
    )
    patience: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Validations that must fail to improve before training stops; 0 never stops early.",
    )
    early_stopping_mode: Annotated[str, choice(STOPPING)] = Field(
        default="mean", description="When there is nothing to wait for any more, over the last `patience` validations."
    )
    restore_from: Annotated[Path | None, PATH] = Field(
        default=None,
        description="Fine-tuning: `model_dir` or checkpoint of another run, whose variables are taken over at the "
        "start. (new)",
    )
    vars_to_restore: Annotated[str | None, PATTERN] = Field(
        default=None, description="Only variables whose names match are restored from the checkpoint."
    )
    vars_to_freeze: Annotated[str | None, PATTERN] = Field(
        default=None, description="Variables whose names match are not trained."
    )
    best_metric: Annotated[str | None, TEXT] = Field(
        default=None,
        description="What decides the `best` checkpoint: `loss` (the default), `TASK_loss` or `TASK_METRIC`, "
        "e.g. `ct_mae`. (new)",
    )
    restore_best: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether a training ends with the weights that were best in validation: `train` returns them, "
        "and `inference_iter` is `best` where it is not given. The states of the last iterations stay, to be resumed. "
        "(new)",
    )
    stop_when_grouping_converges: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether training ends once the grouping probabilities stop moving: over 10,000 iterations. (new)",
    )
    grouping_every_n: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Iterations between notes of the grouping probabilities; 0 for `max_iter` / 100, from 1 to 100. "
        "(new)",
    )

    @property
    def validates(self) -> bool:
        """Whether there is any validation."""
        return self.validation_every_n > 0 or self.validation_every_epochs > 0


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
