"""One frozen model per section of data and tasks: input sources, multi-task, task, one-task applications."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sfgkeras import values
from sfgkeras.config import choices
from sfgkeras.config.section import (
    NAMES,
    NUMBER,
    PATH,
    PATHS,
    PATTERN,
    TEXT,
    WHOLE,
    WINDOW,
    YES_NO,
    Section,
)
from sfgkeras.config.task_keys import (
    ClassNames,
    HeadLayers,
    HeadPooling,
    InputImages,
    LabelNormalisation,
    LossBorder,
    NumClasses,
    OutputActivation,
    OutputProb,
    SamplerSource,
    Tap,
    ToldFrom,
    ValidationMetrics,
)
from sfgkeras.tables.loaders import LOADERS, gives_values
from sfgkeras.tables.refinements import REFINEMENTS
from sfgkeras.tables.tasks import TASK_TYPES
from sfgkeras.values import Reads, choice

PROBABILITIES = Reads(values.parse_numbers, "list of fractions")


class InputSource(Section):
    """An input source, any name: one kind of image, label map or table, one file or line per subject."""

    csv_file: Annotated[Path | None, PATH] = Field(
        default=None,
        description="CSV of `subject_id,path` without header; with `loader = table`, a table with header.",
    )
    path_to_search: Annotated[tuple[Path, ...], PATHS] = Field(
        default=(), description="Folders to search where no list is given."
    )
    filename_contains: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="Words that a file name must contain; they are cut from it to give the subject id.",
    )
    filename_not_contains: Annotated[tuple[str, ...], NAMES] = Field(
        default=(), description="Words that a file name must not contain."
    )
    filename_removefromid: Annotated[str | None, PATTERN] = Field(
        default=None, description="What else is cut from the file name to give the subject id."
    )
    layout: Annotated[str, choice(choices.LAYOUTS)] = Field(
        default="flat",
        description="Where the images lie in `path_to_search`, and what gives the subject id: in the folder itself, by "
        "the names of files (`flat`); at any depth in one subfolder for each subject, whose name is the id "
        "(`subject_folders`); or at any depth, by the names of files (`tree`). (new)",
    )
    interp_order: Annotated[int, WHOLE] = Field(
        default=1,
        ge=0,
        le=3,
        description="Interpolation order of resampling; label maps take 0, also by default.",
    )
    pixdim: Annotated[tuple[float, float, float] | None, Reads(values.parse_spacing, "three lengths in mm")] = Field(
        default=None, description="Voxel size to resample to; empty to leave it."
    )
    axcodes: Annotated[tuple[str, str, str] | None, Reads(values.parse_axcodes, "orientation, e.g. `R, A, S`")] = Field(
        default=None, description="Orientation to turn the volume to; empty to leave it."
    )
    spatial_window_size: Annotated[tuple[int, int, int] | None, WINDOW] = Field(
        default=None,
        description="Window of training. One size of 1 makes slices, in 2-D; two sizes are taken as `A, B, 1`.",
    )
    loader: Annotated[str | None, choice(LOADERS, not_built=choices.NOT_BUILT_LOADERS)] = Field(
        default=None,
        description="What reads the files; empty chooses by their ending.",
    )
    scaling: Annotated[str, choice(("none", "ct"))] = Field(
        default="none", description="`ct` learns CT/1024 + 1 and writes Hounsfield units. (new)"
    )
    filename_attributes: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="What the parts of the file name, between underscores, are: `age, gender, race, date`. (new)",
    )
    padding_value: Annotated[float | None, NUMBER] = Field(
        default=None,
        description="Intensity outside the volume, when resampling; empty for air with `scaling = ct` (-1024 HU), else "
        "0. (new)",
    )
    outside: Annotated[float | Literal["auto", "none"], Reads(values.parse_outside, "value / `auto` / `none`")] = Field(
        default="auto",
        description="As a regression's target: the value that marks voxels outside the field of view. They are left "
        "out of losses, scores, evaluation and report, as is what the image does not cover. `auto` finds what scanners "
        "fill a CT with (`scaling = ct`): the lowest value, where it lies below -1024 HU. (new)",
    )

    @property
    def gives_values(self) -> bool:
        """Whether it gives values per subject, besides an image or instead of one."""
        if bool(self.filename_attributes) or gives_values(self.loader):
            return True
        return self.settings_of("loader").get("content") == "values"


class Task(Section):
    """`[TASK name]`: one prediction target of the network."""

    type: Annotated[str, choice(TASK_TYPES)] = Field(description="What is predicted.")
    target: Annotated[str, TEXT] = Field(
        description="Input source of the reference; a reconstruction and a motion need none, they learn from the image."
    )
    loss: Annotated[str, TEXT] = Field(
        default="",
        description="Loss; by default the first one of the type in the table below.",
    )
    weight: Annotated[float, NUMBER] = Field(
        default=1.0,
        ge=0,
        description="Factor of the loss, whatever `balancing` does besides; with `gradnorm` where the learned weight "
        "begins. With `uncertainty` it has no meaning.",
    )
    log_sigma: Annotated[float | None, NUMBER] = Field(
        default=None,
        description="With `balancing = uncertainty`: the initial logarithm of the task's uncertainty s, of which the "
        "weight is 1 / s^2 for losses on classes and 1 / (2 s^2) for those on quantities; empty for 0. (new)",
    )
    adversarial_weight: Annotated[float, NUMBER] = Field(
        default=0.0,
        ge=0,
        description="What the judgement of an adversary counts beside the loss: a small network that learns to tell "
        "true maps beside their images from predicted ones, and that the network learns to mislead (Xu et al. 2018); "
        "0 for none, e.g. 0.01. Logged losses of the training hold the judgement, those of validations do not. (new)",
    )
    importance: Annotated[float | None, NUMBER] = Field(
        default=None,
        gt=0,
        description="With `early_stopping_mode = task_wise`: the larger, the longer the task is trained; lambda of "
        "Zhang et al. 2014; empty for 1. (new)",
    )
    num_classes: NumClasses = None
    class_names: ClassNames = ()
    output_prob: OutputProb = False
    label_normalisation: LabelNormalisation = False
    metrics: ValidationMetrics = ()
    refinement: Annotated[str, choice(REFINEMENTS)] = Field(
        default="none",
        description="What is done to the probabilities of a segmentation's labels, with the image beside them, before "
        "a label map is made of them. (new)",
    )
    inferred: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Input source of predictions, such as another tool's, that `evaluate` measures instead of those in "
        "`save_seg_dir`.",
    )
    attribute: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Column of the target's table, or part of its file names, for one value per subject; by "
        "default the task's name. Of a regression there may be several, for as many numbers. Of a bounding box its "
        "columns, low corner, then high corner: by default `x_min, y_min, x_max, y_max`, in 3-D `x_min, y_min, z_min, "
        "x_max, y_max, z_max`. Of landmarks their names, each of which has the columns `<name>_x`, `<name>_y` "
        "(and `<name>_z`). (new)",
    )
    scale: Annotated[float, NUMBER] = Field(
        default=1.0, description="Factor on a regression target; results are divided by it. (new)"
    )
    unit: Annotated[str, TEXT] = Field(
        default="",
        description="Unit of a regression target, for tables and curves, e.g. `um2/s`; `scaling = ct` has HU. (new)",
    )
    units: Annotated[str, choice(("pixels", "fractions", "mm"))] = Field(
        default="pixels",
        description="What the numbers of a bounding box or of landmarks count: pixels (voxels) from the outer edge of "
        "the image, or fractions of its width, height and depth; of landmarks also mm, in 3-D of the image's space, in "
        "2-D from its outer edge. (new)",
    )
    per: ToldFrom = "image"
    tap: Tap = None
    head_layers: HeadLayers = ()
    head_pooling: HeadPooling = "average"
    output_activation: OutputActivation = "linear"


class Multitask(Section):
    """`[MULTITASK]`: images, tasks, and how filter groups are learned."""

    image: InputImages = ()
    tasks: Annotated[tuple[str, ...], NAMES] = Field(
        default=(),
        description="Names of the `[TASK name]` sections to learn; empty for all, in their order. (new)",
    )
    weight: Annotated[str | None, TEXT] = Field(
        default=None, description="Input source of a weight map for all losses."
    )
    sampler: SamplerSource = None
    missing_targets: Annotated[str, choice(("refuse", "allow"))] = Field(
        default="refuse",
        description="Whether subjects of training and validation may lack the targets of some tasks (`allow`): they "
        "teach the others, and give the heads of these no gradient. In a table an empty cell is no target. (new)",
    )
    loss_border: LossBorder = 0
    init_categorical: Annotated[tuple[float, ...] | None, PROBABILITIES] = Field(
        default=None,
        description="Initial probability of each group, tasks in order, then shared; empty for 0.6 shared "
        "and the rest equal. With the authors' keys output_1, output_2 the order is theirs: task 1, shared, "
        "task 2.",
    )
    learn_categorical: Annotated[bool, YES_NO] = Field(
        default=True, description="Whether the probabilities are learned; `no` is `sharing = constant_p`."
    )
    use_hardcat: Annotated[bool, YES_NO] = Field(
        default=False, description="Whether masks are one-hot forward, with the gradient of the relaxed draw."
    )
    constant_grouping: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether groups are fixed by the fractions `init_categorical`: `sharing = constant_mask`.",
    )
    batch_sampling: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether each window of a batch draws its own masks in training; in inference a pass is one draw.",
    )
    group_connection: Annotated[str, choice(("mixed", "separate", "dense"))] = Field(
        default="mixed",
        description="What a task's filters read: its own stream and the shared one, its own alone, or all.",
    )
    tau: Annotated[float, NUMBER] = Field(default=1.0, gt=0, description="Initial temperature of the relaxed draw.")
    use_tau_annealing: Annotated[bool, YES_NO] = Field(
        default=True, description="Whether the temperature falls in training."
    )
    gs_anneal_r: Annotated[float, NUMBER] = Field(
        default=1e-5,
        ge=0,
        description="Rate r of the temperature max(min_temp, tau exp(-r t)) at iteration t.",
    )
    min_temp: Annotated[float, NUMBER] = Field(default=0.1, gt=0, description="Lowest temperature.")
    entropy_decay: Annotated[float, NUMBER] = Field(
        default=1e-5, ge=0, description="Weight of the entropy of the probabilities, lambda_2 of the paper."
    )
    cost_weight: Annotated[float, NUMBER] = Field(
        default=0.0,
        ge=0,
        description="Weight in the objective of the multiplies that the hardened network is expected to cost, as a "
        "multiple of those with all filters shared; 0 leaves the groups to the losses alone. (new)",
    )
    group_multiple: Annotated[int, WHOLE] = Field(
        default=1,
        ge=1,
        description="What the filters of every group are multiples of once groups are fixed, e.g. 8, since engines are "
        "slow at other numbers; one group of each layer may hold what is left over. 1 forces nothing. (new)",
    )
    random_p_init: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether each filter's initial probabilities are drawn from a flat Dirichlet.",
    )
    cross_stitch_init: Annotated[float, NUMBER] = Field(
        default=0.9,
        ge=0,
        le=1,
        description="With `sharing = cross_stitch`: initial weight of a task's own features; the rest goes to the "
        "other tasks in equal parts. (new)",
    )
    cross_stitch_per_channel: Annotated[bool, YES_NO] = Field(
        default=False,
        description="Whether every channel has its own cross-stitch weights, rather than one matrix per layer. (new)",
    )
    cross_stitch_decay: Annotated[float, NUMBER] = Field(
        default=0.0, ge=0, description="Weight of the sum of squares of the cross-stitch weights in the loss. (new)"
    )
    layer_scale: Annotated[float | None, NUMBER] = Field(
        default=None, gt=0, description="The authors' name for `[NETWORK] width`."
    )


class _OneTask(Section):
    image: InputImages = ()
    weight: Annotated[str | None, TEXT] = Field(default=None, description="Input source of a weight map for the loss.")
    sampler: SamplerSource = None
    loss_border: LossBorder = 0
    inferred: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Input source of predictions, such as another tool's, that `evaluate` measures instead of those in "
        "`save_seg_dir`; without `image` it stands for the image, and there is nothing to train.",
    )
    metrics: ValidationMetrics = ()


class Segmentation(_OneTask):
    """`[SEGMENTATION]`: a label per voxel."""

    label: Annotated[str | None, TEXT] = Field(default=None, description="Input source of the label maps.")
    num_classes: NumClasses = None
    class_names: ClassNames = ()
    output_prob: OutputProb = False
    label_normalisation: LabelNormalisation = False
    tap: Tap = None
    head_layers: HeadLayers = ()


class Regression(_OneTask):
    """`[REGRESSION]`: a quantity per voxel or per subject."""

    output: Annotated[str | None, TEXT] = Field(default=None, description="Input source of the reference.")
    attribute: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Column of its table, or part of its file names, for one value per subject. (new)",
    )
    scale: Annotated[float, NUMBER] = Field(
        default=1.0, description="Factor on the target; results are divided by it. (new)"
    )
    unit: Annotated[str, TEXT] = Field(
        default="", description="Unit of the target, for tables and curves; `scaling = ct` has HU. (new)"
    )
    per: ToldFrom = "image"
    tap: Tap = None
    head_layers: HeadLayers = ()
    head_pooling: HeadPooling = "average"
    output_activation: OutputActivation = "linear"


class Classification(_OneTask):
    """`[CLASSIFICATION]`: a class per subject."""

    label: Annotated[str | None, TEXT] = Field(default=None, description="Input source of the classes.")
    num_classes: Annotated[int | None, WHOLE] = Field(default=None, ge=1, description="Classes, numbered from 0.")
    class_names: ClassNames = ()
    output_prob: OutputProb = False
    label_normalisation: LabelNormalisation = False
    attribute: Annotated[str | None, TEXT] = Field(
        default=None,
        description="Column of the table, or part of the file names, that holds the class. (new)",
    )
    per: ToldFrom = "image"
    tap: Tap = None
    head_layers: HeadLayers = ()
    head_pooling: HeadPooling = "average"
