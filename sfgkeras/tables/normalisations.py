"""What may stand between a convolution and its activation."""

from collections.abc import Mapping

NORMALISATIONS: Mapping[str, str] = {
    "batch": "every filter to mean 0 and variance 1 over the batch, then a learned scale and offset",
    "none": "a learned bias per filter",
}
