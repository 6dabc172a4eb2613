"""Rows of the goals table about data: augmented windows, N4, Nyul, resampling, reading."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from goals_timing import Settings, alternate, ratio
from mr_volume import AFFINE, SPACING, mr_volume

WINDOW, WINDOWS_PER_CALL = 128, 200


def windows_per_second(settings: Settings) -> dict[str, float]:
    """Augmented windows (image and label, scaled and rotated) per second, ours and MONAI's dictionary transforms."""
    import monai.transforms as mt
    import torch

    from sfgkeras.data.augmentation import Augmentation
    from sfgkeras.data.pipeline import training_dataset
    from sfgkeras.data.prepared import PreparedSubject
    from sfgkeras.data.samplers import UniformSampler
    from sfgkeras.data.windows import WindowSource

    random_generator = np.random.default_rng(0)
    image = random_generator.normal(size=(288, 288, 62, 1)).astype(np.float32)
    labels = random_generator.integers(0, 6, (288, 288, 62, 1)).astype(np.uint8)
    # With the sliced axis first in memory, as the store of volumes lays them out.
    image, labels = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 2, 0)), 0, 2) for a in (image, labels))
    size = (WINDOW, WINDOW, 1)
    subject = PreparedSubject("s", image, {"organs": labels})
    augmentation = Augmentation(rotation_angle=(-10, 10), scaling_percentage=(-10, 10))
    source = WindowSource([subject], size, UniformSampler(size), augmentation, {"organs": "labels"}, seed=0)
    batches = iter(training_dataset(source, 10, num_threads=settings.threads))

    def ours() -> Any:
        for _ in range(WINDOWS_PER_CALL // 10):
            last = next(batches)
        return last

    torch.set_num_threads(1)
    keys = ["image", "organs"]
    transform = mt.Compose(
        [
            mt.RandAffined(
                keys,
                prob=1.0,
                rotate_range=np.pi / 18,
                scale_range=0.1,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
        ]
    )
    place = np.random.default_rng(1)

    def peer() -> Any:
        for _ in range(WINDOWS_PER_CALL // 10):
            x, y = place.integers(0, 288 - WINDOW, 2)
            z = place.integers(62)
            cut = (slice(x, x + WINDOW), slice(y, y + WINDOW), z)
            last = transform({"image": image[..., 0][cut][None], "organs": labels[..., 0][cut][None]})
        return last

    times = alternate({"ours": ours, "peer": peer}, settings.repeats)
    ours_rate, peer_rate = WINDOWS_PER_CALL / times["ours"], WINDOWS_PER_CALL / 10 / times["peer"]
    return {"ours": ours_rate, "peer": peer_rate, "value": ours_rate}


def _mr(settings: Settings) -> np.ndarray:
    volume, _ = mr_volume(0)
    return volume[::2, ::2, ::2] if settings.quick else volume


def n4_against_ants(settings: Settings) -> dict[str, float]:
    """N4 bias field correction against ANTs' defaults."""
    import ants

    from sfgkeras.preprocessing.bias_field import correct_bias_field

    image = _mr(settings).astype(np.float32)
    wrapped = ants.from_numpy(image, spacing=SPACING)
    functions = {
        "ours": lambda: correct_bias_field(image, SPACING),
        "peer": lambda: ants.n4_bias_field_correction(wrapped),
    }
    return ratio(alternate(functions, max(1, settings.repeats // 3)), "ours", "peer")


def _volumes(settings: Settings) -> list[np.ndarray]:
    volumes = [mr_volume(seed)[0] for seed in range(2 if settings.quick else 5)]
    return [volume[::2, ::2] for volume in volumes] if settings.quick else volumes


def nyul_fit_against_torchio(settings: Settings) -> dict[str, float]:
    """Fitting Nyul's landmarks on files, against TorchIO."""
    import torchio

    from sfgkeras.data.nifti import read_stored, write_image
    from sfgkeras.preprocessing.histogram import fit_landmarks

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, volume in enumerate(_volumes(settings)):
            paths.append(Path(folder) / f"{number}.nii")
            write_image(paths[-1], volume, AFFINE)
        functions = {
            "ours": lambda: fit_landmarks(read_stored(path).array for path in paths),
            "peer": lambda: torchio.HistogramStandardization.train(paths, progress=False),
        }
        return ratio(alternate(functions, settings.repeats), "ours", "peer")


def nyul_apply_against_torchio(settings: Settings) -> dict[str, float]:
    """Mapping an int16 volume to the standard scale, against TorchIO."""
    import torch
    import torchio

    from sfgkeras.preprocessing.histogram import apply_landmarks, fit_landmarks

    volumes = _volumes(settings)
    landmarks = fit_landmarks(volumes)
    standardise = torchio.HistogramStandardization({"mr": np.asarray(landmarks.values)})
    tensor = torch.from_numpy(np.ascontiguousarray(volumes[0])[None])
    subject = torchio.Subject(mr=torchio.ScalarImage(tensor=tensor))
    functions = {"ours": lambda: apply_landmarks(volumes[0], landmarks), "peer": lambda: standardise(subject)}
    return ratio(alternate(functions, settings.repeats), "ours", "peer")


def cubic_against_simpleitk(settings: Settings) -> dict[str, float]:
    """Cubic resampling to isotropic voxels, against SimpleITK's B-spline on the same grid."""
    import SimpleITK as sitk

    from sfgkeras.preprocessing.resampling import resample_to_spacing

    image = _mr(settings).astype(np.float32)
    spacing = (SPACING[0],) * 3

    def ours() -> Any:
        return resample_to_spacing(image, AFFINE, spacing, 3, antialias=False)[0]

    shape = ours().shape
    wrapped = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    wrapped.SetSpacing(SPACING)
    origin = [(new - old) / 2 for new, old in zip(spacing, SPACING, strict=True)]
    identity = np.eye(3).ravel().tolist()

    def peer() -> Any:
        return sitk.Resample(wrapped, shape, sitk.Transform(), sitk.sitkBSpline, origin, spacing, identity, 0.0)

    return ratio(alternate({"ours": ours, "peer": peer}, settings.repeats), "ours", "peer")


def reading_against_nibabel(settings: Settings) -> dict[str, float]:
    """Reading a compressed int16 volume as float32, against nibabel."""
    import nibabel as nib

    from sfgkeras.data.nifti import read_image, write_image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write_image(path, _mr(settings), AFFINE)
        functions = {
            "ours": lambda: read_image(path).array,
            "peer": lambda: nib.load(path).get_fdata(dtype=np.float32, caching="unchanged"),
        }
        return ratio(alternate(functions, settings.repeats), "ours", "peer")


def hdf5_windows_against_h5py(settings: Settings, compression: str | None = "gzip") -> dict[str, float]:
    """Windows, image and mask, straight from HDF5 rows that no memory keeps, against a plain loop of h5py.

    The loop reads rows in the same random order and makes float32 and int32 of them; ours cuts and checks besides.
    """
    import h5py

    from sfgkeras.data.hdf5.rows import open_rows
    from sfgkeras.data.on_demand import OnDemand
    from sfgkeras.data.prepared import PreparedSubject
    from sfgkeras.data.samplers import UniformSampler
    from sfgkeras.data.windows import WindowSource

    count, side = (60, 128) if settings.quick else (300, 256)
    texture = np.random.default_rng(0).normal(size=(side, side, 3)).cumsum(0).cumsum(1)
    photo = (127 + 127 * np.sin(texture / 50)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.h5"
        with h5py.File(path, "w") as file:
            for name, channels in (("images", 3), ("masks", 1)):
                packed = {"chunks": (1, side, side, channels), "compression": compression} if compression else {}
                rows = file.create_dataset(name, (count, side, side, channels), "u1", **packed)
                for index in range(count):
                    rows[index] = np.roll(photo, index, 0) if channels == 3 else np.roll(photo[..., :1], index, 1) > 127
        images, masks = (open_rows(path, name) for name in ("images", "masks"))

        def late(rows: Any, index: int) -> Any:
            shape = (side, side, 1, rows.shape[-1])
            return OnDemand(shape, rows.dtype, lambda: rows.row(index).reshape(shape))

        subjects = [PreparedSubject(f"{i}", late(images, i), {"mask": late(masks, i)}) for i in range(count)]
        size = (side, side, 1)
        source = WindowSource(subjects, size, UniformSampler(size), None, {"mask": "labels"})
        order = np.random.default_rng(1).permutation(count)

        def ours() -> Any:
            for first in range(0, count, 10):
                last = source.batch(range(first, first + 10))
            return last

        with h5py.File(path) as file:
            plain, labels = file["images"], file["masks"]

            def peer() -> Any:
                for index in order:
                    last = plain[index].astype(np.float32), labels[index].astype(np.int32)
                return last

            times = alternate({"ours": ours, "peer": peer}, settings.repeats)
    rates = {name: count / seconds for name, seconds in times.items()}
    return {**rates, "value": rates["ours"] / rates["peer"]}


def hdf5_windows_in_one_piece(settings: Settings) -> dict[str, float]:
    """The same from data sets that are neither chunked nor compressed."""
    return hdf5_windows_against_h5py(settings, None)
