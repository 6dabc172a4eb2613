"""`[TRAINING]`: optimisation, augmentation, validation and checkpoints."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sfgkeras.config.section import AXES, NAMES, NUMBER, PATH, PATTERN, RANGE, TEXT, WHOLE, YES_NO, Section
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.entry import aliases_of
from sfgkeras.tables.grouping_schedules import GROUPING_SCHEDULES
from sfgkeras.tables.meta_learning import META_LEARNING
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.schedules import SCHEDULES
from sfgkeras.tables.stopping import STOPPING
from sfgkeras.values import choice


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
        description="Learning rate of the grouping logits. Empty, with `schedule = paper` for `lr`, as in the paper: "
        "with Adam the logits move by at most this much per iteration, and short runs need a larger one; with "
        "`schedule = auto` for 8 divided by the iterations of a candidate. (new)",
    )
    schedule: Annotated[str, choice(GROUPING_SCHEDULES)] = Field(
        default="auto",
        description="How `sharing = sfg` finds the groups of its filters; other mechanisms have none to find. Where "
        "it is not given, it is `paper` in a file that says how masks are drawn (`tau`, `gs_anneal_r`, `min_temp`, "
        "`use_tau_annealing`, `use_hardcat`, `batch_sampling`, `monte_carlo`, ...), fine-tunes (`restore_from`) or "
        "freezes (`vars_to_freeze`). (new)",
    )
    lr_schedule: Annotated[str, choice(SCHEDULES)] = Field(
        default="constant",
        description="How the learning rates change over the training, after `warm_up`. (new)",
    )
    warm_up: Annotated[int, WHOLE] = Field(
        default=0, ge=0, description="Iterations in which the learning rates rise to their full value. (new)"
    )
    meta_learning: Annotated[str, choice(META_LEARNING)] = Field(
        default="none",
        description="How the network learns to learn: what it finds is where to begin when it is fine-tuned "
        "(`restore_from`) for another task. (new)",
    )
    clip_norm: Annotated[float | None, NUMBER] = Field(
        default=None,
        gt=0,
        description="Norm that the gradient of the whole objective is shortened to where it is longer; empty for none. "
        "(new)",
    )
    ema_decay: Annotated[float | None, NUMBER] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Exponential moving average of the weights, for validation, `best` and inference: 0.999 reaches "
        "back over about 1000 iterations; empty for the weights of the last iteration. (new)",
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
    trackers: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="Where the curves go besides the run's own logs: `mlflow`, `wandb`, or both; see docs/runs.md. "
        "(new)",
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
    gamma_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None,
        description="Random exponent of the image's intensities, scaled to 0 to 1 within the window, e.g. 0.7, 1.5. "
        "(new)",
    )
    contrast_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None,
        description="Random factor on the distance of intensities from the window's mean, e.g. 0.75, 1.25. (new)",
    )
    ghosting_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None,
        description="Random strength of ghosts along a random axis: how much of every `num_ghosts`-th line of k-space "
        "is lost, e.g. 0.2, 0.8. (new)",
    )
    blur_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None, description="Standard deviation of a random Gaussian blur, in voxels, e.g. 0.5, 1. (new)"
    )
    low_resolution_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None,
        description="Random factor by which voxels are larger before they are brought back, e.g. 1, 2. (new)",
    )
    noise_range: Annotated[tuple[float, float] | None, RANGE] = Field(
        default=None,
        description="Standard deviation of random Gaussian noise, in units of the prepared image (with `whitening` of "
        "its standard deviation), e.g. 0, 0.1. (new)",
    )
    num_ghosts: Annotated[int, WHOLE] = Field(
        default=4, ge=2, description="How many times a window with ghosts repeats. (new)"
    )
    proportion_to_change: Annotated[float, NUMBER] = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Fraction of the windows that get noise, blur, contrast, gamma, ghosts or low resolution: of each "
        "that has a range, on its own. (new)",
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
    folds: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Cross-validation: into how many folds the subjects for training are divided, each of which is "
        "held out once; a run for each, see docs/folds.md. 0 for one run. (new)",
    )
    fold: Annotated[int | None, WHOLE] = Field(
        default=None,
        ge=1,
        description="The one fold that is meant, from 1, as by `--fold`; empty for all of them. (new)",
    )
    fold_groups: Annotated[str | None, PATTERN] = Field(
        default=None,
        description="Regular expression: subjects in whose ids its first group matches the same (e.g. the patient, "
        "`^([^_]+)_`) share a fold. (new)",
    )
    fold_strata: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Task whose class, or fifths of whose value, are spread evenly over the folds. (new)",
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
        "start. With `sharing = fully_adaptive` and a run of `hard_sharing` the thin layers take those of its filters "
        "that matching pursuit chooses. (new)",
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
