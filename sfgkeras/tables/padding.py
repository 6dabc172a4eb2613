"""What voxels around a volume may hold: `[NETWORK] volume_padding_mode`, and the step `pad`, by NumPy's names."""

PADDING_MODES = ("minimum", "maximum", "mean", "median", "constant", "edge", "reflect", "symmetric", "wrap")
