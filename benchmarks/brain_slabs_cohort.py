"""Seven real brain slabs made hard to read: a known bias field and noise on each T1 image, as a cohort on disk.

The images lie in `mr_brain_multi` of the folder of real images: `ilist<id>_T1.nii.gz` and `slist<id>_tissue.nii.gz`
(0 background, 1 cerebrospinal fluid, 2 cortex, 3 white matter, 4 deep grey matter), 18 axial slices each, stored
with the slices on the second axis (PSR).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.data.subjects import write_split

SUBJECTS = ("1", "13", "2", "4", "5", "57", "9")
"""Ids in their order as text."""

TISSUES = ("background", "csf", "cortex", "white matter", "deep grey")


def split_without(test_subject: str) -> dict[str, list[str]]:
    """Returns the subjects of each phase: one tests, the one before it validates, five train.

    Args:
        test_subject: One of `SUBJECTS`; the last comes before the first.
    """
    validates = SUBJECTS[SUBJECTS.index(test_subject) - 1]
    training = [subject_id for subject_id in SUBJECTS if subject_id not in (test_subject, validates)]
    return {"training": training, "validation": [validates], "inference": [test_subject]}


def bias_field(
    shape: Sequence[int], random_generator: np.random.Generator, strength: float = 0.5, order: int = 3
) -> np.ndarray:
    """Makes a smooth multiplicative field: the exponential of a random polynomial in the voxel's position.

    The polynomial is a sum of products of Legendre polynomials of total degree 1 to `order`, each with a normal
    coefficient divided by its degree, scaled so that its largest absolute value is `strength`.

    Args:
        shape: Voxels along x, y, z.
        random_generator: Draws the coefficients.
        strength: Largest absolute logarithm of the field; 0.5 spans factors from 0.61 to 1.65.
        order: Largest total degree.

    Returns:
        Positive factors, `shape`, float32.
    """
    positions = [np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1) for size in shape]
    legendre = [np.polynomial.legendre.legvander(position, order) for position in positions]
    logarithm = np.zeros(tuple(shape))
    for i, j, k in np.ndindex(order + 1, order + 1, order + 1):
        if 1 <= i + j + k <= order:
            coefficient = random_generator.standard_normal() / (i + j + k)
            logarithm += coefficient * np.einsum("x,y,z->xyz", legendre[0][:, i], legendre[1][:, j], legendre[2][:, k])
    return np.exp(logarithm * (strength / np.abs(logarithm).max())).astype(np.float32)


def corrupt(
    image: np.ndarray, random_generator: np.random.Generator, strength: float = 0.5, noise: float = 0.05
) -> np.ndarray:
    """Multiplies an image by a bias field and adds the noise of a magnitude image (Rician).

    Args:
        image: Intensities, `(x, y, z)`.
        random_generator: Draws field and noise.
        strength: See `bias_field`.
        noise: Standard deviation in each of the two channels of the scanner, in units of the image.

    Returns:
        Intensities of the same shape, float32.
    """
    biased = image * bias_field(image.shape, random_generator, strength)
    real, imaginary = random_generator.normal(0.0, noise, (2, *image.shape))
    return np.hypot(biased + real, imaginary).astype(np.float32)


def write_cohort(source: Path, folder: Path, seed: int = 0, strength: float = 0.5, noise: float = 0.05) -> None:
    """Writes `slab<id>_noisy.nii.gz` for every subject, each with a field and noise of its own.

    Beside them, `split_<id>.csv` for every subject that may be left out for the test.

    Args:
        source: `mr_brain_multi`.
        folder: Where images and split files go.
        seed: Together with the subject's id, the seed of field and noise.
        strength: See `bias_field`.
        noise: See `corrupt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for subject_id in SUBJECTS:
        image = read_image(source / f"ilist{subject_id}_T1.nii.gz")
        random_generator = np.random.default_rng([seed, int(subject_id)])
        noisy = corrupt(image.array, random_generator, strength, noise)
        write_image(folder / f"slab{subject_id}_noisy.nii.gz", noisy, image.affine, image.header)
        write_split(folder / f"split_{subject_id}.csv", split_without(subject_id))


INI = """\
[NOISY]
path_to_search = {cohort}
filename_contains = slab, _noisy
axcodes = R, A, S
spatial_window_size = {window}, {window}, 1

[T1]
path_to_search = {source}
filename_contains = ilist, _T1
axcodes = R, A, S

[TISSUE]
path_to_search = {source}
filename_contains = slist, _tissue
axcodes = R, A, S

[SYSTEM]
model_dir = {model_dir}
dataset_split_file = {cohort}/split_{test_subject}.csv
cache_dir = {cohort}/cache
num_threads = {threads}
seed = {seed}

[NETWORK]
name = highresnet
sharing = {sharing}
width = {width}
batch_size = {batch_size}
whitening = {whitening}

[TRAINING]
optimiser = adam
lr = {learning_rate}
{grouping_rate}max_iter = {iterations}
rotation_angle = -10, 10
scaling_percentage = -10, 10
save_every_n = 0
max_checkpoints = 1
tensorboard_every_n = 10
validation_every_n = {validate_every}
validation_max_iter = 8
{averages}

[INFERENCE]
# Larger than the slices: whole slices.
spatial_window_size = 256, 256, 1

[EVALUATION]
evaluations = mae, rmse, dice

[MULTITASK]
image = NOISY
tasks = t1, tissue
{grouping}
[TASK t1]
type = regression
target = T1
loss = rmse
output_activation = {output_activation}
# Brain intensities spread by about a quarter; the network learns a target of about unit variance.
scale = 4

[TASK tissue]
type = segmentation
target = TISSUE
loss = dicecrossentropy
num_classes = 5
class_names = background, csf, cortex, white matter, deep grey
"""
"""The run of one network; every `{name}` is a setting of the benchmark."""

SHORT_PAPER = {
    "grouping_rate": "grouping_lr = {grouping_rate}\n",
    "grouping": """\
# Temperature and entropy by the length of the run; the paper's are made for 200 000 iterations.
init_categorical = {initial_probabilities}
gs_anneal_r = {anneal_rate}
entropy_decay = {entropy_decay}
""",
}
"""What `INI` says of filter groups that follow the paper's schedule in a short run."""

AUTO = {"grouping_rate": "", "grouping": ""}
"""What it says where the default schedule finds the groups: nothing."""


def write_ini(path: Path, follows_paper: bool = True, **settings: object) -> None:
    """Writes the INI file of one run.

    Args:
        path: Where it goes.
        follows_paper: Whether groups of filters follow the paper's schedule, with settings for a short run, or `auto`.
        settings: One for every name in `INI` and, for the paper's schedule, in `SHORT_PAPER`.
    """
    grouping = {name: text.format(**settings) for name, text in (SHORT_PAPER if follows_paper else AUTO).items()}
    path.write_text(INI.format(**{**settings, **grouping}))
