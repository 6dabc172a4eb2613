"""Which way the axes of an array point, and turning them without touching a voxel's value."""

from collections.abc import Sequence

import numpy as np

from sfgkeras.errors import ConfigError

_AXIS_OF_LETTER = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}

FLATTEST = 1e-3
"""Volume that the unit vectors along the three axes of an image span, at least: below it they lie nearly in a plane."""


def axis_codes(affine: np.ndarray) -> tuple[str, str, str]:
    """Names the direction in which each array axis grows, e.g. `("R", "A", "S")`.

    Oblique axes get the letter of the anatomical axis that they are nearest to.

    Args:
        affine: Voxel to RAS mm, `(4, 4)`.
    """
    from nibabel.orientations import aff2axcodes

    return aff2axcodes(affine)


def reorient(array: np.ndarray, affine: np.ndarray, axcodes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Permutes and flips the first three axes so that they point as `axcodes` says.

    Nothing is interpolated: each voxel keeps its value and its place in space, and going to other axis codes
    and back gives the same array.

    Args:
        array: `(x, y, z)` or `(x, y, z, channels)`; the channels stay last.
        affine: Voxel to RAS mm, `(4, 4)`.
        axcodes: Three letters, one of each pair L/R, P/A, I/S.

    Returns:
        A view of `array` and the affine of the view.

    Raises:
        ConfigError: If `axcodes` are not three letters of the three pairs.
    """
    wanted = check_axis_codes(axcodes)
    present = axis_codes(affine)
    source = [next(i for i in range(3) if _same_axis(present[i], letter)) for letter in wanted]
    flipped = [axis for axis in range(3) if present[source[axis]] != wanted[axis]]
    view = np.transpose(array, (*source, *range(3, array.ndim)))
    new_affine = np.array(affine, np.float64)
    new_affine[:, :3] = new_affine[:, source]
    for axis in flipped:
        new_affine[:3, 3] += (view.shape[axis] - 1) * new_affine[:3, axis]
        new_affine[:3, axis] *= -1
    return np.flip(view, flipped), new_affine


def check_axis_codes(axcodes: Sequence[str]) -> tuple[str, str, str]:
    """Returns the axis codes as three capital letters.

    Raises:
        ConfigError: If they are not one letter of each of the pairs L/R, P/A, I/S.
    """
    letters = tuple(str(letter).upper() for letter in axcodes)
    if sorted(_AXIS_OF_LETTER.get(letter, -1) for letter in letters) != [0, 1, 2]:
        raise ConfigError(
            f"axcodes {tuple(axcodes)!r} do not name three directions; "
            "give one letter of each pair L/R, P/A, I/S, e.g. R, A, S"
        )
    return letters[0], letters[1], letters[2]


def _same_axis(one: str, other: str) -> bool:
    return _AXIS_OF_LETTER[one] == _AXIS_OF_LETTER[other]
