"""A volume of the size that the speed of preprocessing is measured on."""

import numpy as np

SHAPE, SPACING = (288, 288, 62), (1.46, 1.46, 3.0)
AFFINE = np.diag([*SPACING, 1.0])


def mr_volume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an int16 MR of four textured tissues under a coil's field, and its tissues."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij", sparse=True)
    wobble = 0.06 * np.sin(5 * x + seed) * np.cos(4 * y) + 0.04 * np.sin(6 * z + 3 * x)
    radius = np.sqrt((x / 0.9) ** 2 + (y / 0.75) ** 2 + (0.4 * z) ** 2) + wobble
    tissues = np.digitize(-radius, [-0.95, -0.75, -0.5, -0.25]).astype(np.uint8)
    field = np.exp(0.3 * x - 0.3 * y**2 + 0.2 * x * z)
    levels = np.array([0, 620, 180, 330, 480], np.float32)[tissues] * rng.uniform(0.6, 1.6)
    noisy = levels * field * (1 + 0.06 * rng.standard_normal(SHAPE, np.float32))
    background = 6 * np.abs(rng.standard_normal(SHAPE, np.float32))
    return np.asfortranarray(np.rint(noisy + background), dtype=np.int16), tissues
