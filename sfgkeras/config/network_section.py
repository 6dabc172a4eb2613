"""`[NETWORK]`: the network, how its tasks share filters, and the intensities it is fed."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sfgkeras.config import choices
from sfgkeras.config.section import BORDER, CUTOFF, NUMBER, OUTPUT_PATH, WHOLE, YES_NO, Section
from sfgkeras.tables.networks import NETWORKS
from sfgkeras.tables.padding import PADDING_MODES
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.sharing import SHARING
from sfgkeras.values import choice


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
    deep_supervision: Annotated[int, WHOLE] = Field(
        default=0,
        ge=0,
        description="Levels below full resolution on which every map of targets is predicted and judged in training, "
        "too, with weights of 1/2, 1/4, ... of the full one's that sum to 1 with it; for networks with a way up. 0 for "
        "none. (new)",
    )
    mask_residual: Annotated[bool, YES_NO] = Field(
        default=True,
        description="Whether residual blocks stay within their stream's channels; hardening needs it. (new)",
    )


class MechanismSettings(Section):
    """`[SHARING]`: settings of the sharing mechanism; which there are, `config.mechanism` knows."""
