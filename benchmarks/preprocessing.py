"""Preprocessing against its peers, in one run: N4, Nyul, resampling, whole pipelines.

    python benchmarks/preprocessing.py [--repeats 3] [--volumes 4] [--only n4,nyul,resampling,pipeline]

Every pair is timed in turn, medians are printed with their ratio and the goal. Peers that are not installed
are named and left out: pip install 'sfgkeras[benchmark]'.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK as sitk
from mr_volume import AFFINE, SHAPE, SPACING, mr_volume

from sfgkeras.data.nifti import read_stored, write_image
from sfgkeras.preprocessing.bias_field import correct_bias_field
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.preprocessing.folder.runners import available_cores
from sfgkeras.preprocessing.histogram import apply_landmarks, fit_landmarks
from sfgkeras.preprocessing.resampling import resample_to_spacing


class Table:
    """Times pairs in turn and prints one line for each."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        print(f"{'what':<46}{'ours':>10}{'peer':>10}{'ratio':>8}{'goal':>8}")

    def row(self, what: str, ours: Callable[[], Any], peer: Callable[[], Any], goal: float | None = None) -> None:
        """Times two functions alternately and prints their medians in seconds."""
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        ours()
        for _ in range(self.repeats):
            for name, function in (("ours", ours), ("peer", peer)):
                began = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - began)
        our_time, peer_time = median(times["ours"]), median(times["peer"])
        ratio = our_time / peer_time
        verdict = "" if goal is None else f"{goal:>8.2f} {'met' if ratio <= goal else 'MISSED'}"
        print(f"{what:<46}{our_time:>10.3f}{peer_time:>10.3f}{ratio:>8.2f}{verdict}", flush=True)


def peer_module(name: str, package: str) -> Any:
    """Imports a peer, or says how to get it and returns None."""
    if importlib.util.find_spec(name.split(".")[0]) is None:
        print(f"{package} is not installed, its rows are left out: pip install {package}")
        return None
    return importlib.import_module(name)


def benchmark_n4(table: Table) -> None:
    """N4 against ANTs' defaults, with the variation that is left within each tissue."""
    import ants

    image, tissues = mr_volume(0)
    image = image.astype(np.float32)
    ants_image = ants.from_numpy(image, spacing=SPACING)
    ants_mask = ants.from_numpy((tissues > 0).astype(np.float32), spacing=SPACING)
    results: dict[str, np.ndarray] = {}

    def ours() -> None:
        results["ours"] = correct_bias_field(image, SPACING)[0]

    def peer() -> None:
        results["ants"] = ants.n4_bias_field_correction(ants_image, mask=ants_mask).numpy()

    table.row("N4 / ants.n4_bias_field_correction", ours, peer, 0.45)
    for name, result in (("before", image), *results.items()):
        variation = [float(result[tissues == k].std() / result[tissues == k].mean()) for k in range(1, 5)]
        print(f"  variation within tissues, {name}: {', '.join(f'{v:.4f}' for v in variation)}")


def benchmark_nyul(table: Table) -> None:
    """Nyul's fit and map against TorchIO and intensity-normalization, without masks and equal to 1e-3."""
    volumes = [mr_volume(seed)[0] for seed in range(5)]
    landmarks = fit_landmarks(volumes)
    torchio = peer_module("torchio", "torchio")
    if torchio is not None:
        import torch

        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{seed}.nii" for seed in range(len(volumes))]
            for path, volume in zip(paths, volumes, strict=True):
                write_image(path, volume, AFFINE)
            train = torchio.HistogramStandardization.train
            found = train(paths, progress=False)
            print(f"  largest difference of landmarks to TorchIO: {np.abs(found - landmarks.values).max():.2g}")
            table.row(
                "Nyul fit, 5 files / TorchIO",
                lambda: fit_landmarks(read_stored(path).array for path in paths),
                lambda: train(paths, progress=False),
                0.25,
            )
        standardise = torchio.HistogramStandardization({"mr": found})
        subject = torchio.Subject(mr=torchio.ScalarImage(tensor=torch.from_numpy(volumes[0][None].astype(np.int16))))
        difference = np.abs(standardise(subject)["mr"].numpy()[0] - apply_landmarks(volumes[0], landmarks)).max()
        print(f"  largest difference of mapped values to TorchIO: {difference:.2g}")
        table.row(
            "Nyul apply, int16 / TorchIO",
            lambda: apply_landmarks(volumes[0], landmarks),
            lambda: standardise(subject),
            0.15,
        )
        scaled = volumes[0].astype(np.float32) * np.float32(1.01)
        float_subject = torchio.Subject(mr=torchio.ScalarImage(tensor=torch.from_numpy(scaled[None])))
        table.row(
            "Nyul apply, float32 / TorchIO",
            lambda: apply_landmarks(scaled, landmarks),
            lambda: standardise(float_subject),
        )
    peer = peer_module("intensity_normalization.normalizers.population.nyul", "intensity-normalization")
    if peer is not None:
        images = importlib.import_module("intensity_normalization.adapters.images")
        wrapped = [images.create_image(volume.astype(np.float32)) for volume in volumes]
        normalizer = peer.NyulNormalizer(output_min_value=0.0)
        normalizer.fit_population(wrapped)
        table.row(
            "Nyul fit, 5 arrays / intensity-normalization",
            lambda: fit_landmarks(volume[volume > 0] for volume in volumes),
            lambda: normalizer.fit_population(wrapped),
        )
        table.row(
            "Nyul apply / intensity-normalization",
            lambda: apply_landmarks(volumes[0], landmarks, foreground_mask=volumes[0] > 0),
            lambda: normalizer.transform(wrapped[0]),
        )


def benchmark_resampling(table: Table) -> None:
    """Isotropic resampling against SimpleITK, ANTs and TorchIO, without antialiasing as theirs."""
    image = mr_volume(0)[0].astype(np.float32)
    spacing = (1.46, 1.46, 1.46)

    def ours(order: int) -> np.ndarray:
        return resample_to_spacing(image, AFFINE, spacing, order, antialias=False)[0]

    shape = ours(1).shape
    itk_image = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    itk_image.SetSpacing(SPACING)
    origin = [(new - old) / 2 for new, old in zip(spacing, SPACING, strict=True)]

    def itk(interpolator: int) -> np.ndarray:
        resampled = sitk.Resample(
            itk_image, shape, sitk.Transform(), interpolator, origin, spacing, np.eye(3).ravel().tolist(), 0.0
        )
        return sitk.GetArrayFromImage(resampled).T

    for name, order, interpolator, goal in (
        ("cubic / SimpleITK B-spline", 3, sitk.sitkBSpline, 0.1),
        ("linear / SimpleITK linear", 1, sitk.sitkLinear, None),
    ):
        difference = np.abs(ours(order) - itk(interpolator)).max()
        print(f"  largest difference to SimpleITK: {difference:.2g} of {image.max():g}")
        table.row(f"isotropic {name}", lambda o=order: ours(o), lambda i=interpolator: itk(i), goal)
    import ants

    ants_image = ants.from_numpy(image, spacing=SPACING)
    for name, order, code in (("cubic / ants.resample_image", 3, 4), ("linear / ants.resample_image", 1, 0)):
        table.row(
            f"isotropic {name}",
            lambda o=order: ours(o),
            lambda c=code: ants.resample_image(ants_image, spacing, use_voxels=False, interp_type=c),
        )
    torchio = peer_module("torchio", "torchio")
    if torchio is not None:
        import torch

        subject = torchio.ScalarImage(tensor=torch.from_numpy(image[None]), affine=AFFINE)
        for name, order, kind in (
            ("cubic / TorchIO bspline", 3, "bspline"),
            ("linear / TorchIO", 1, "linear"),
        ):
            transform = torchio.Resample(spacing, image_interpolation=kind)
            table.row(f"isotropic {name}", lambda o=order: ours(o), lambda t=transform: t(subject))


def benchmark_pipeline(num_volumes: int) -> None:
    """Whole pipelines from compressed file to compressed file, volumes per minute."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        for seed in range(num_volumes):
            write_image(Path(folder) / "in" / f"s{seed}.nii.gz", mr_volume(seed)[0], AFFINE)
        settings = {"resample_spacing": "1.46", "resample_order": "3"}
        for workers in (1, 2):
            began = time.perf_counter()
            result = run_folder(
                Path(folder) / "in",
                Path(folder) / f"out{workers}",
                "n4,resample,nyul,whiten",
                settings,
                workers=workers,
            )
            minutes = (time.perf_counter() - began) / 60
            rate = len(result.done) / minutes
            print(
                f"pipeline n4,resample,nyul,whiten, {workers} process(es): {rate:.1f} volumes per minute",
                flush=True,
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--only", default="n4,nyul,resampling,pipeline")
    options = parser.parse_args(arguments)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "SimpleITK", "antspyx")]
    print(f"{' x '.join(map(str, SHAPE))} int16, {available_cores()} cores, {', '.join(versions)}")
    table = Table(options.repeats)
    parts = options.only.split(",")
    if "n4" in parts:
        benchmark_n4(table)
    if "nyul" in parts:
        benchmark_nyul(table)
    if "resampling" in parts:
        benchmark_resampling(table)
    if "pipeline" in parts:
        benchmark_pipeline(options.volumes)


if __name__ == "__main__":
    main()
