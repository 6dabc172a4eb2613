"""Colours and sizes that all figures of a run share, told apart by colour-blind readers too."""

from collections.abc import Sequence

# After Okabe and Ito (2008), in an order whose neighbours differ in lightness as well.
TASK_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
SHARED_COLOUR = "#8A8A8A"
TRAINING_COLOUR, VALIDATION_COLOUR = "#0072B2", "#D55E00"
SEQUENCE = "viridis"
# Densities: white where there is nothing, on light and on dark pages; lightness falls all the way.
DENSITY_COLOURS = ("#ffffff", "#dff0c4", "#9fd8b8", "#4fb5bf", "#2588b8", "#25539f", "#0d1d58")
LONGEST_NAME = 18


def group_colours(num_groups: int) -> list[str]:
    """Returns a colour per group, grey for the shared one, which is the last."""
    return [TASK_COLOURS[task % len(TASK_COLOURS)] for task in range(num_groups - 1)] + [SHARED_COLOUR]


def depth_colours(num_layers: int) -> list[str]:
    """Returns a colour per layer, from purple (first) to orange (last), as hexadecimal numbers."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    steps = max(num_layers - 1, 1)
    # Without the ends of the map, which are hard to see on dark and on white paper.
    return [to_hex(colormaps["plasma"](0.25 + 0.57 * layer / steps)) for layer in range(num_layers)]


def short_names(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Returns names that fit beside a figure; long ones are cut and end in an ellipsis."""
    return [name if len(name) <= longest else f"{name[: longest - 1]}\u2026" for name in names]
