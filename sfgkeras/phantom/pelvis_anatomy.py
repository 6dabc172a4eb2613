"""The anatomy of the synthetic male pelvis: tissues, and the solids that they fill, drawn at random.

Body coordinates are in mm: +x to the patient's right, +y to the front, +z to the head; the origin lies
halfway between the centres of the femoral heads. Sizes are those of textbooks, not of any patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.phantom.solids import Cup, Ellipsoid, Intersection, Point, Shape, Trunk, Tube, Union

# Values of the label map.
LABELS = {
    "prostate": 1,
    "bladder": 2,
    "rectum": 3,
    "left_femoral_head": 4,
    "right_femoral_head": 5,
}
LEFT, RIGHT = -1, 1


@dataclass(frozen=True)
class Tissue:
    """How a tissue looks.

    Attributes:
        ct: Mean in Hounsfield units.
        mr: Mean T2-weighted signal, where urine has 1.
        ct_texture: Standard deviation of the texture in Hounsfield units.
        mr_texture: Standard deviation of the texture as a fraction of the signal.
        grain: Size of the texture in mm.
    """

    ct: float
    mr: float
    ct_texture: float = 4.0
    mr_texture: float = 0.06
    grain: float = 9.0


TISSUES = {
    "air": Tissue(-1000, 0.0, 0.0, 0.0),
    "skin": Tissue(15, 0.35),
    "fat": Tissue(-102, 0.72, 7.0, 0.055, 11.0),
    "muscle": Tissue(54, 0.16, 7.0, 0.22, 6.0),
    "cortical_bone": Tissue(980, 0.035, 90.0, 0.2, 7.0),
    "marrow": Tissue(215, 0.56, 38.0, 0.11, 5.0),
    "cartilage": Tissue(70, 0.38),
    "vessel": Tissue(46, 0.07, 3.0, 0.3, 6.0),
    "fascia": Tissue(45, 0.12),
    "peripheral_zone": Tissue(37, 0.55, 4.0, 0.12, 5.0),
    "transition_zone": Tissue(43, 0.31, 5.0, 0.28, 5.5),
    "seminal_vesicle": Tissue(24, 0.74, 4.0, 0.3, 4.0),
    "bladder_wall": Tissue(38, 0.19),
    "urine": Tissue(5, 1.0, 2.0, 0.015, 25.0),
    "bowel_wall": Tissue(41, 0.24, 4.0, 0.12, 5.0),
    "stool": Tissue(25, 0.34, 28.0, 0.35, 5.0),
    "gas": Tissue(-970, 0.01, 10.0, 0.0),
    "penile_root": Tissue(47, 0.62, 4.0, 0.1, 6.0),
}


@dataclass(frozen=True)
class Part:
    """A solid that is painted over what was painted before.

    Attributes:
        shape: Where it lies.
        layers: `(depth in mm, name of tissue)`, from the surface inwards.
        label: Value in the label map; None leaves the labels below as they are.
    """

    shape: Shape
    layers: Sequence[tuple[float, str]]
    label: int | None = 0


class Chance:
    """Draws numbers near textbook values.

    Args:
        rng: Where randomness comes from.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def shift(self, spread: float) -> float:
        """Returns a normal deviate of that standard deviation, at most twice it."""
        return float(spread * np.clip(self.rng.standard_normal(), -2, 2))

    def near(self, value: float, fraction: float) -> float:
        """Returns the value changed by a normal deviate of that fraction, at most twice it."""
        return value * (1 + self.shift(fraction))

    def point(self, place: Point, spread: float = 1.5) -> np.ndarray:
        """Returns a point within about `spread` mm of another."""
        return np.asarray(place) + spread * np.clip(self.rng.standard_normal(3), -2, 2)

    def blob(
        self, center: Point, radii: Point, angles: Point = (0, 0, 0), power: int = 2, spread: float = 1.5
    ) -> Ellipsoid:
        """Returns an ellipsoid near the given one, sizes within about 6 %."""
        sizes = [self.near(radius, 0.06) for radius in radii]
        turned = [angle + self.shift(2.0) for angle in angles]
        return Ellipsoid(self.point(center, spread), sizes, turned, power)

    def tube(self, *corners: tuple[float, float, float, float], spread: float = 1.5) -> Tube:
        """Returns a tube near the given corners `(x, y, z, radius)`."""
        points = [self.point(corner[:3], spread) for corner in corners]
        return Tube(points, [self.near(corner[3], 0.06) for corner in corners])


def draw_trunk(chance: Chance) -> list[Part]:
    """Draws the trunk, which comes first, with skin and fat, and the cleft between the buttocks."""
    half_width, depth = chance.near(176, 0.025), chance.near(119, 0.04)
    center = (0.0, chance.near(-7, 0.3))
    back = chance.near(-116, 0.03)
    waist = chance.near(0.05, 0.5)
    trunk = Trunk(half_width, depth, center, back, waist)
    cleft = Ellipsoid((0, back - 6, -55), (chance.near(4, 0.3), chance.near(34, 0.15), 75))
    return [Part(trunk, ((0, "skin"), (1.8, "fat"))), Part(cleft, ((0, "air"),))]


def draw_muscles(chance: Chance, side: int, trunk: Shape) -> list[Part]:
    """Draws the muscles of one side: a mass around the hip, and single muscles in thin sheets of fat."""
    s = side
    rind = chance.near(13, 0.25)
    shapes: dict[str, Shape] = {
        "gluteus maximus": chance.blob((s * 73, -79, -8), (69, 26, 84), (0, 0, s * 18), 3),
        "gluteus medius": chance.blob((s * 128, -4, 42), (17, 50, 46), (0, s * 5, -s * 14)),
        "gluteus minimus": chance.blob((s * 127, 6, 10), (11, 30, 28), (0, 0, -s * 10)),
        "tensor fasciae latae": chance.blob((s * 131, 48, -6), (12, 25, 66), (0, 0, s * 30)),
        "iliopsoas": chance.tube(
            (s * 76, 14, 70, 24), (s * 84, 36, 22, 21), (s * 97, 37, -18, 17), (s * 104, 12, -60, 11)
        ),
        "sartorius": chance.tube((s * 116, 74, 30, 9), (s * 106, 78, -20, 10), (s * 92, 82, -60, 10)),
        "rectus femoris": chance.tube((s * 108, 50, 14, 8), (s * 119, 56, -20, 14), (s * 120, 62, -60, 17)),
        "vastus": chance.blob((s * 134, 18, -72), (24, 36, 46)),
        "obturator internus": chance.blob((s * 52, -8, -8), (9, 40, 38), (0, s * 8, s * 10), 3),
        "obturator externus": chance.blob((s * 64, 14, -38), (32, 14, 13), (0, 0, -s * 25)),
        "pectineus": chance.blob((s * 62, 50, -38), (32, 14, 26), (0, 0, -s * 16)),
        "adductor brevis": chance.blob((s * 36, 32, -48), (23, 20, 20), (0, 0, -s * 20)),
        "adductors": chance.blob((s * 54, 24, -76), (36, 38, 36)),
        "quadratus femoris": chance.blob((s * 98, -36, -42), (32, 12, 24), (0, 0, s * 10)),
        "piriformis": chance.blob((s * 68, -60, 26), (44, 10, 15), (0, s * -14, s * 18)),
        "levator ani": chance.blob((s * 24, -36, -26), (5, 32, 22), (0, s * -28, s * 8)),
        "rectus abdominis": chance.blob((s * 33, 84, 44), (32, 8, 62), (4, 0, -s * 6)),
    }
    for name in ("gluteus maximus", "tensor fasciae latae", "vastus", "sartorius", "rectus abdominis"):
        shapes[name] = Intersection(trunk, shapes[name], rind)
    mass = chance.blob((s * 100, 2, -12), (55, 66, 120), (0, s * 5, s * 4))
    return [Part(mass, ((0, "muscle"),))] + [Part(shape, ((0.0, "fat"), (1.4, "muscle"))) for shape in shapes.values()]


def draw_vessels(chance: Chance, side: int) -> list[Part]:
    """Draws the iliac and femoral vessels and the spermatic cord of one side."""
    s = side
    vessel = ((0.0, "vessel"),)
    return [
        Part(chance.tube((s * 58, 22, 60, 5.5), (s * 72, 56, 12, 5), (s * 78, 70, -55, 4.5)), vessel),
        Part(chance.tube((s * 52, 10, 60, 6.5), (s * 61, 52, 10, 6), (s * 67, 66, -55, 6)), vessel),
        Part(chance.tube((s * 42, 78, 8, 7), (s * 22, 78, -55, 8)), ((0, "fascia"), (2, "fat"))),
    ]


def hip_bone(chance: Chance, side: int, head: np.ndarray, radius: float) -> Union:
    """Draws the hip bone of one side around the femoral head: ilium, ischium and pubis in one."""
    s = side
    gap = radius + 3.5
    return Union(
        [
            Cup(head, gap, gap + chance.near(9, 0.1), (-0.80 * s, -0.12, 0.58), chance.near(-7, 0.4)),
            chance.blob(head + (-s * 5, -5, 34), (15, 36, 15), (0, 0, -s * 20)),
            chance.blob((s * 97, -8, 64), (8.5, 54, 38), (0, s * 8, -s * 24)),
            chance.tube((s * 80, 28, 22, 11), (s * 66, 26, 2, 12), (s * 42, 44, -8, 8.5), (s * 16, 54, -18, 9)),
            Ellipsoid((s * 14, 50, -25), (11, 11, 18), (-38, 0, s * 25)),
            chance.tube((s * 14, 42, -38, 7), (s * 36, 10, -60, 7.5)),
            chance.tube((s * 82, -28, 24, 12), (s * 73, -33, 0, 13), (s * 70, -38, -28, 12), (s * 62, -36, -62, 16)),
        ]
    )


def femur(chance: Chance, side: int, head: np.ndarray, radius: float) -> Union:
    """Draws the upper femur of one side: head, neck, greater trochanter and shaft."""
    s = side
    end = head + (s * 36, -9, -27)
    return Union(
        [
            Ellipsoid(head, (radius,) * 3),
            Tube([head + (s * 8, -1, -5), end], [chance.near(15, 0.05), chance.near(14, 0.05)]),
            chance.blob(end + (s * 9, -6, 4), (13, 17, 20)),
            Tube([end, end + (-s * 4, 4, -40), end + (-s * 6, 8, -80)], [17, 14.5, 13.5]),
        ]
    )


def draw_bones(chance: Chance) -> list[Part]:
    """Draws hip bones, femora, sacrum and coccyx, with cortex and marrow, and labels the femoral heads."""
    sacrum: list[Shape] = [
        chance.blob((0, -84, 64), (46, 15, 34), (-18, 0, 0)),
        chance.tube((0, -88, 48, 14), (0, -90, 34, 10), (0, -87, 18, 7), (0, -76, 2, 5), spread=1.0),
    ]
    cortex = chance.near(1.9, 0.1)
    parts = [Part(Union(sacrum), ((0, "cortical_bone"), (1.5, "marrow")))]
    radius = chance.near(24.5, 0.05)
    for side, label in ((LEFT, LABELS["left_femoral_head"]), (RIGHT, LABELS["right_femoral_head"])):
        head = chance.point((side * 89, 0, 0))
        bone = ((0.0, "cortical_bone"), (cortex, "marrow"))
        parts.append(Part(hip_bone(chance, side, head, radius), bone))
        parts.append(Part(Ellipsoid(head, (radius + 3.5,) * 3), ((0, "cartilage"),)))
        thigh = femur(chance, side, head, radius)
        parts.append(Part(thigh, bone))
        parts.append(Part(Intersection(thigh, thigh.shapes[3]), ((0, "cortical_bone"), (4.5, "marrow"))))
        parts.append(Part(Ellipsoid(head, (radius,) * 3), (), label))
    return parts


def draw_rectum(chance: Chance) -> list[Part]:
    """Draws the rectum with its wall, its stool and, in most, bubbles of gas at the front."""
    rng = chance.rng
    width = chance.near(1.0, 0.14)
    sway = 5 * rng.standard_normal(4).clip(-2, 2)
    course = [
        (0, -30, -62),
        (0, -37, -34),
        (sway[0], -42, -12),
        (sway[1], -52, 12),
        (sway[2], -62, 34),
        (sway[3], -64, 70),
    ]
    radii = [11, 12.5 * width, 16 * width, 17 * chance.near(width, 0.08), 17 * width, 16 * width]
    tube = Tube([chance.point(corner, 1.0) for corner in course], radii)
    wall = chance.near(3.2, 0.12)
    parts = [Part(tube, ((0, "bowel_wall"), (wall, "stool")), LABELS["rectum"])]
    for _ in range(int(rng.integers(0, 4))):
        height = rng.uniform(-28, 42)
        y, x = (np.interp(height, [p[2] for p in course], [p[axis] for p in course]) for axis in (1, 0))
        bubble = Ellipsoid((x, y + 5, height), (20, chance.near(12, 0.25), chance.near(13, 0.4)))
        parts.append(Part(Intersection(tube, bubble, wall), ((0, "gas"),), None))
    return parts


def draw_bowel(chance: Chance) -> list[Part]:
    """Draws loops of bowel above the bladder, some with gas, which no label names."""
    rng = chance.rng
    parts = []
    for start in ((-48, 34, 62), (30, 52, 66), (6, -22, 62), (52, -14, 64)):
        corners = [chance.point(start, 8)]
        for _ in range(2):
            corners.append(corners[-1] + rng.normal(0, (20, 14, 6)))
        loop = Tube(corners, [chance.near(13, 0.15) for _ in corners])
        parts.append(Part(loop, ((0, "bowel_wall"), (2.5, "stool"))))
        if rng.random() < 0.5:
            bubble = Ellipsoid(corners[1] + (0, 7, 0), (16, 9, 12))
            parts.append(Part(Intersection(loop, bubble, 2.8), ((0, "gas"),)))
    return parts


def draw_bladder_and_prostate(chance: Chance) -> list[Part]:
    """Draws the bladder, the seminal vesicles and the prostate below it, with its two zones."""
    size = chance.near(1.0, 0.11)
    center = chance.point((0, 1, -17), 2.0)
    radii = np.array([25.0, 18.5, 19.5]) * size * (chance.near(1, 0.05), chance.near(1, 0.05), chance.near(1, 0.05))
    prostate = Ellipsoid(center, radii, (chance.near(-12, 0.4), 0, chance.shift(3.0)))
    filling = chance.near(1.0, 0.14)
    extent = np.array([37.0, 29.0, 25.0]) * filling * (chance.near(1, 0.06), chance.near(1, 0.06), 1)
    floor = center[2] + radii[2] - 5
    bladder = Ellipsoid(
        (chance.shift(4.0), center[1] + 18, floor + extent[2]),
        extent,
        (chance.near(12, 0.5), 0, 0),
        2,
    )
    wall = chance.near(3.6, 0.25) / filling
    zone = Ellipsoid(center + (0, 0.26 * radii[1], 0.16 * radii[2]), radii * (0.66, 0.60, 0.74) * chance.near(1, 0.08))
    vesicles = [
        chance.blob((s * 18, center[1] - 22, floor + 12), (19, 6.5, 8), (0, s * -14, s * 12)) for s in (LEFT, RIGHT)
    ]
    urethra = Tube([center + (0, 4, -radii[2] - 25), center + (0, 2, -radii[2] + 4)], [7, 6])
    return [
        Part(Union(vesicles), ((0, "seminal_vesicle"),)),
        Part(urethra, ((0, "fascia"),)),
        Part(bladder, ((0, "bladder_wall"), (wall, "urine")), LABELS["bladder"]),
        Part(prostate, ((0, "fascia"), (1.3, "peripheral_zone")), LABELS["prostate"]),
        Part(zone, ((0, "fascia"), (0.6, "transition_zone")), None),
    ]


def draw_parts(rng: np.random.Generator) -> list[Part]:
    """Draws one patient.

    Args:
        rng: Where randomness comes from.

    Returns:
        The parts in the order in which they are painted.
    """
    chance = Chance(rng)
    parts = draw_trunk(chance)
    for side in (LEFT, RIGHT):
        parts += draw_muscles(chance, side, parts[0].shape)
    parts.append(Part(chance.blob((0, 28, -58), (13, 20, 12)), ((0, "fascia"), (1.5, "penile_root"))))
    parts += draw_bowel(chance)
    parts += draw_rectum(chance)
    parts += draw_bladder_and_prostate(chance)
    for side in (LEFT, RIGHT):
        parts += draw_vessels(chance, side)
    parts += draw_bones(chance)
    return parts


def draw_tissues(rng: np.random.Generator) -> dict[str, Tissue]:
    """Draws how the tissues of one patient look: a few per cent from the textbook."""
    chance = Chance(rng)
    drawn = {}
    for name, tissue in TISSUES.items():
        ct = tissue.ct + chance.shift(0.35 * tissue.ct_texture)
        if name == "cortical_bone":
            ct = chance.near(tissue.ct, 0.07)
        drawn[name] = Tissue(ct, chance.near(tissue.mr, 0.06), tissue.ct_texture, tissue.mr_texture, tissue.grain)
    return drawn
