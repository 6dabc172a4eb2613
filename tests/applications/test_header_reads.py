"""The header of an image is read once in a run, whichever steps of it ask."""

from collections import Counter

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.data import nifti
from sfgkeras.reporter import SilentReporter

TINY = {"TRAINING.max_iter": 1, "TRAINING.save_every_n": 1, "TRAINING.validation_every_n": 1}


@pytest.fixture
def reads(monkeypatch):
    """How often each file's header was read without its voxels, by name."""
    counts = Counter()

    def counting(read):
        def decode(path, *args, voxels=True, **options):
            counts.update([] if voxels else [path.name])
            return read(path, *args, voxels=voxels, **options)

        return decode

    monkeypatch.setattr(nifti, "LOADERS", {name: counting(read) for name, read in nifti.LOADERS.items()})
    return counts


def test_training_inference_evaluation_and_check_read_each_header_once(make_config, reads, cohort):
    config = make_config(TINY)
    images = {path.name for path in cohort.glob("*.nii.gz")}
    for verb in (run.train, run.infer, run.evaluate, check_run):
        reads.clear()
        verb(config, SilentReporter())
        of_images = {name: count for name, count in reads.items() if name in images}
        assert set(of_images.values()) <= {1}, f"{verb.__name__}: {of_images}"
        if verb in (run.train, check_run):
            # The subject held out for inference is checked by its image alone.
            assert len(of_images) == 3 * 3 + 1
