"""Keys that `[TASK name]`, `[MULTITASK]` and the sections of one task have in common, each described once.

A section that means something of its own by such a key describes it itself.
"""

from typing import Annotated

from pydantic import Field

from sfgkeras import values
from sfgkeras.config.section import NAMES, TEXT, WHOLE, YES_NO
from sfgkeras.tables.heads import HEAD_INPUTS, HEAD_POOLINGS, OUTPUT_ACTIVATIONS
from sfgkeras.values import Reads, choice

InputImages = Annotated[tuple[str, ...], NAMES, Field(description="Input sources whose channels the network sees.")]

SamplerSource = Annotated[
    str | None, TEXT, Field(description="Input source that `window_sampling = weighted` or `balanced` draws by.")
]

LossBorder = Annotated[
    int, WHOLE, Field(ge=0, description="Zeros put around each window, in voxels per side; the loss leaves them out.")
]

ValidationMetrics = Annotated[
    tuple[str, ...], NAMES, Field(description="Validation metrics; empty for all of the type.")
]

# The bound before the reader: behind it pydantic would hold None against the bound, too.
NumClasses = Annotated[
    int | None, Field(ge=1, description="Classes, the background included; labels are 0 .. `num_classes` - 1."), WHOLE
]

ClassNames = Annotated[
    tuple[str, ...],
    NAMES,
    Field(description="Names of the classes in order, for tables and pictures; empty for numbers. (new)"),
]

OutputProb = Annotated[
    bool, YES_NO, Field(description="Whether probabilities per class are written besides the most probable class.")
]

LabelNormalisation = Annotated[
    bool,
    YES_NO,
    Field(
        description="Whether the labels found in training are numbered 0, 1, ... in their order, and results written "
        "with the labels found; `label_mapping.json` in `model_dir` keeps them."
    ),
]

ToldFrom = Annotated[
    str,
    choice(tuple(HEAD_INPUTS)),
    Field(
        description="What a value or class per subject is told from: the whole image, so that each window of training "
        "must be one (`window_sampling = resize`, or images as large as the window), or each `window`: results are "
        "then the mean over all windows of an image. (new)"
    ),
]

Tap = Annotated[
    str | None,
    TEXT,
    Field(
        description="Stage of the network that the head reads, e.g. `stage_4` of `highresnet`, `encoding` of `unet`; "
        "empty for the usual one. (new)"
    ),
]

HeadLayers = Annotated[
    tuple[int, ...],
    Reads(values.parse_widths, "list of whole numbers"),
    Field(
        description="Outputs of each layer with ReLU between the features and the logits, e.g. `128, 64`: dense layers "
        "of a value or class, convolutions over one voxel of a map. (new)"
    ),
]

OutputActivation = Annotated[
    str,
    choice(tuple(OUTPUT_ACTIVATIONS)),
    Field(
        description="What outputs of a regression can be: any number (`linear`), nothing below 0 (`relu`), between 0 "
        "and 1 (`sigmoid`), between -1 and 1 (`tanh`), or nothing outside of the smallest and largest target, times "
        "`scale`, of the training subjects (`range`), so that e.g. a background of 0 is exactly 0. (new)"
    ),
]

HeadPooling = Annotated[
    str,
    choice(tuple(HEAD_POOLINGS)),
    Field(
        description="What a value or class reads of the features: their mean over all voxels (`average`), or all of "
        "them (`flatten`), for which all windows must have one size. (new)"
    ),
]
