"""A synthetic cohort of animals in two kinds, as silhouettes on textured grounds: photo, mask, kind and box.

It has what photographs of pets have, and no photograph is in it. Kind 0, the cat, has pointed ears and a long tail;
kind 1, the dog, a snout, an ear that hangs and a short tail. Colours, textures, light, pose and size say nothing of the
kind. Subject `i` of a seed is the same whatever the number of subjects.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from sfgkeras.phantom.cohort_files import subject_generator
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture, Tube, Union

KIND_NAMES = ("cat", "dog")
# Pixels of a side; "full" is that of the pets in the experiments with U-Nets, "small" trains in minutes.
SIDES: dict[str, int] = {"full": 256, "small": 64}
LEAST_CONTRAST = 0.3  # distance between the mean colours of animal and ground, of 1.73 between black and white


@dataclass(frozen=True)
class Picture:
    """One subject.

    Attributes:
        image: RGB, uint8, `(rows, columns, 3)`.
        mask: 1 on the animal, else 0; uint8, `(rows, columns)`.
        kind: A position in `KIND_NAMES`.
        box: `x_min, y_min, x_max, y_max` of the mask in pixels, float32: edges, from 0 at the left of the first column
            and at the top of the first row, so that a box is as wide as `x_max - x_min`.
    """

    image: np.ndarray
    mask: np.ndarray
    kind: int
    box: np.ndarray


def build_picture(seed: int, subject: int = 0, size: str = "small") -> Picture:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort; the kinds take turns.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    kind, side = subject % len(KIND_NAMES), SIDES[size]
    animal = draw_animal(rng, kind)
    points, unit = body_points(rng, animal, side)
    distance = animal.distance(*points)
    colours = paint(rng, np.clip(0.5 - unit * distance, 0, 1), pixel_centres(side))
    mask = (distance < 0).astype(np.uint8)
    return Picture(np.rint(255 * colours.clip(0, 1)).astype(np.uint8), mask, kind, box_of(mask))


def pixel_centres(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x, to the right, and y, upwards, of the middle of every pixel, from -1 to 1; `(side, side)` each."""
    steps = ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)
    x, y = np.meshgrid(steps, -steps)
    return x, y


def draw_animal(rng: np.random.Generator, kind: int) -> Shape:
    """Draws the outline of an animal that looks to the right, about 1 from its middle to its chest."""
    half, thick = rng.uniform(0.78, 0.98), rng.uniform(0.32, 0.44)
    head = np.array([half + rng.uniform(0.02, 0.2), thick + rng.uniform(0.0, 0.25), 0.0])
    radius = rng.uniform(0.3, 0.37)
    parts: list[Shape] = [
        Ellipsoid((0, 0, 0), (half, thick, 1.0)),
        Tube([(0.6 * half, 0.1, 0), head], [0.75 * thick, 0.2]),
        Ellipsoid(head, (1.08 * radius, radius, 1.0)),
    ]
    ground = -thick - rng.uniform(0.4, 0.6)
    for place in (-0.78, -0.5, 0.45, 0.72):
        foot = (place * half + rng.uniform(-0.16, 0.16), ground, 0)
        parts.append(Tube([(place * half, -0.3 * thick, 0), foot], [0.17, rng.uniform(0.08, 0.11)]))
    parts += cat_parts(rng, head, radius) if kind == 0 else dog_parts(rng, head, radius)
    parts.append(draw_tail(rng, (-0.9 * half, 0.3 * thick), 1.0 if kind == 0 else 0.42))
    return Union(parts)


def cat_parts(rng: np.random.Generator, head: np.ndarray, radius: float) -> list[Shape]:
    """Draws two pointed ears."""
    ears: list[Shape] = []
    for lean in (-0.42, 0.42):
        angle = lean + rng.uniform(-0.12, 0.12)
        direction = np.array([np.sin(angle), np.cos(angle), 0.0])
        length = rng.uniform(0.36, 0.5)
        ears.append(Tube([head + 0.6 * radius * direction, head + (radius + length) * direction], [0.2, 0.01]))
    return ears


def dog_parts(rng: np.random.Generator, head: np.ndarray, radius: float) -> list[Shape]:
    """Draws a snout, and an ear that hangs behind the head."""
    angle = rng.uniform(-0.35, 0.1)
    snout = head + (radius + rng.uniform(0.28, 0.42)) * np.array([np.cos(angle), np.sin(angle), 0.0])
    top = head + radius * np.array([-0.55, 0.75, 0.0])
    tip = top + np.array([-rng.uniform(0.22, 0.34), -rng.uniform(0.3, 0.5), 0.0])
    return [Tube([head, snout], [0.22, rng.uniform(0.13, 0.17)]), Tube([head, top, tip], [0.2, 0.14, 0.15])]


def draw_tail(rng: np.random.Generator, start: tuple[float, float], length: float) -> Tube:
    """Draws a tail that bends upwards."""
    angle, points = rng.uniform(2.2, 3.3), [np.array([*start, 0.0])]
    for _ in range(4):
        points.append(points[-1] + length / 4 * rng.uniform(0.85, 1.15) * np.array([np.cos(angle), np.sin(angle), 0.0]))
        angle -= rng.uniform(0.0, 0.55)
    return Tube(points, np.linspace(0.13, 0.08, len(points)).tolist())


def body_points(rng: np.random.Generator, animal: Shape, side: int) -> tuple[list[np.ndarray], float]:
    """Draws a pose: where in the animal every pixel lies, and how many pixels are 1 there.

    Half of the animals look to the left. The whole animal lies within the picture.

    Args:
        rng: Where randomness comes from.
        animal: The outline.
        side: Pixels of a side.

    Returns:
        x, y and z, `(side, side)` each, and the pixels.
    """
    scale = rng.uniform(0.36, 0.6)
    turned = Rotation.from_euler("z", rng.uniform(-18, 18), degrees=True).as_matrix()
    to_picture = scale * np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0]) @ turned
    low, high = animal.bounds()
    corners = np.array([[a, b, 0.0] for a in (low[0], high[0]) for b in (low[1], high[1])]) @ to_picture.T
    reach, room = corners[:, :2].max(axis=0) - corners[:, :2].min(axis=0), 1.94
    if (shrink := room / max(*reach, room)) < 1:
        scale, to_picture, corners = shrink * scale, shrink * to_picture, shrink * corners
    least, most = -0.97 - corners[:, :2].min(axis=0), 0.97 - corners[:, :2].max(axis=0)
    middle = np.append(rng.uniform(least, np.maximum(most, least)), 0.0)
    x, y = pixel_centres(side)
    points = np.stack([x, y, np.zeros_like(x)], axis=-1) - middle.astype(np.float32)
    in_body = points @ np.linalg.inv(to_picture).T.astype(np.float32)
    return list(np.moveaxis(in_body, -1, 0)), scale * side / 2


def paint(rng: np.random.Generator, share: np.ndarray, centres: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Colours animal and ground, each with its own texture; adds things on the ground, light and noise.

    Args:
        rng: Where randomness comes from.
        share: How much of every pixel is animal, `(side, side)`.
        centres: x and y of every pixel.

    Returns:
        RGB, about 0 to 1, `(side, side, 3)`.
    """
    ground_colour, colour = rng.uniform(0.1, 0.9, (2, 3))
    while np.linalg.norm(colour - ground_colour) < LEAST_CONTRAST:
        colour = rng.uniform(0.1, 0.9, 3)
    picture = textured(rng, ground_colour, centres)
    for _ in range(rng.integers(2, 6)):
        picture = blend(picture, textured(rng, rng.uniform(0.1, 0.9, 3), centres), thing(rng, centres))
    picture = blend(picture, textured(rng, colour, centres), share)
    direction = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.25) * (np.cos(direction) * centres[0] + np.sin(direction) * centres[1])
    noise = rng.uniform(0.01, 0.04) * rng.standard_normal(picture.shape, np.float32)
    return picture * light[..., None] + noise


def textured(rng: np.random.Generator, colour: np.ndarray, centres: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns a colour that changes from place to place towards another one; `(side, side, 3)`."""
    texture = Texture.draw(rng, 16)
    values = texture([*centres, np.zeros_like(centres[0])], rng.uniform(0.08, 0.45))
    towards = rng.normal(0, 0.055, 3)
    return (colour + values[..., None] * towards).astype(np.float32)


def thing(rng: np.random.Generator, centres: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns how much of every pixel a stone or a stick on the ground covers, `(side, side)`."""
    x, y = centres
    start = np.append(rng.uniform(-1, 1, 2), 0.0)
    shape: Shape
    if rng.random() < 0.5:
        shape = Ellipsoid(start, (*rng.uniform(0.08, 0.3, 2), 1.0), (0, 0, rng.uniform(0, 180)))
    else:
        end = start + np.append(rng.uniform(-0.7, 0.7, 2), 0.0)
        shape = Tube([start, end], rng.uniform(0.03, 0.1, 2).tolist())
    return share_of(shape, x, y)


def blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Lays one picture over another where its share is positive."""
    return below + share[..., None] * (above - below)


def share_of(shape: Shape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns how much of every pixel a shape covers, from 0 to 1."""
    return np.clip(0.5 - shape.distance(x, y, np.zeros_like(x)) * x.shape[0] / 2, 0, 1)


def box_of(mask: np.ndarray) -> np.ndarray:
    """Returns the box around what is not 0: `x_min, y_min, x_max, y_max`, edges in pixels, float32.

    Raises:
        ValueError: If the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("an empty mask has no box")
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
