"""Monte Carlo inference: the written maps are the moments of the single passes, and repeat."""

import csv

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run

SAMPLED = {
    "NETWORK.sharing": "sfg",
    "NETWORK.batch_norm": "recalibrated",
    "MULTITASK.tau": 0.2,
    "TRAINING.validation_every_n": -1,
    "INFERENCE.masks": "sample",
    "INFERENCE.fill_constant": 0,
    # The nearest voxel on the way back: interpolation would not commute with absolute values.
    "INFERENCE.output_interp_order": 0,
}


def read(config, name, ending=""):
    path = config.inference.save_seg_dir / f"phantom_000_{name}_predicted{ending}.nii.gz"
    return np.asarray(nib.load(path).dataobj, "float64")


@pytest.fixture(scope="module")
def trained(config_maker, tmp_path_factory):
    """Returns a function: overrides -> config of a trained sfg run, predictions in a folder of their own."""
    make_config = config_maker(tmp_path_factory.mktemp("trained"))
    run.train(make_config(SAMPLED))

    def infer(folder, **overrides):
        changes = {f"INFERENCE.{key}": value for key, value in overrides.items()}
        config = make_config({**SAMPLED, "INFERENCE.save_seg_dir": folder, **changes})
        run.infer(config, dataset="all")
        return config

    return infer


def test_maps_are_written_for_every_task_and_repeat_bit_for_bit(trained, cohort):
    first, second = trained("a", monte_carlo=3), trained("b", monte_carlo=3)
    shape = nib.load(cohort / "phantom_000_mr.nii.gz").shape
    for name, endings in {"ct": ["", "_std"], "organs": ["", "_entropy", "_mutual_information"]}.items():
        for ending in endings:
            values = read(first, name, ending)
            assert values.shape == shape
            np.testing.assert_array_equal(values, read(second, name, ending))
    std, information = read(first, "ct", "_std"), read(first, "organs", "_mutual_information")
    assert (std >= 0).all()
    assert std.max() > 1.0  # HU, not network units
    assert (information <= read(first, "organs", "_entropy") + 1e-5).all()
    assert information.max() > 0
    assert read(first, "organs", "_entropy").max() <= np.log(6) + 1e-5


def test_two_passes_are_the_mean_of_two_sampled_networks(trained):
    """The first pass is what one draw gives; the second follows from mean and deviation of two."""
    once, twice = trained("once"), trained("twice", monte_carlo=2)
    first, mean, std = read(once, "ct"), read(twice, "ct"), read(twice, "ct", "_std")
    # For two values a, b: deviation = |a - b| / sqrt(2), and |a - mean| = |a - b| / 2.
    np.testing.assert_allclose(np.abs(first - mean), std / np.sqrt(2), atol=0.01)
    assert std.max() > 1


def test_an_interrupted_inference_gives_what_an_uninterrupted_one_gives(trained):
    parts = trained("twice", monte_carlo=2)
    expected = read(parts, "ct", "_std")
    # The first subject's results are lost; only they are made again.
    for path in parts.inference.save_seg_dir.glob("phantom_000_*"):
        path.unlink()
    run.infer(parts, dataset="all")
    np.testing.assert_array_equal(read(parts, "ct", "_std"), expected)


SCALARS = """
[FACES]
path_to_search = {cohort}
filename_contains = .png
spatial_window_size = 16, 16, 1
loader = pillow
filename_attributes = age, gender, number

[SYSTEM]
model_dir = {model_dir}

[NETWORK]
name = vgg11
width = 0.05
batch_size = 4
window_sampling = resize

[TRAINING]
max_iter = 3
exclude_fraction_for_inference = 0.3

[INFERENCE]
masks = sample
monte_carlo = 3

[MULTITASK]
image = FACES
tasks = age, gender

[TASK age]
type = regression
target = FACES
attribute = age
scale = 0.01

[TASK gender]
type = classification
target = FACES
attribute = gender
num_classes = 2
"""


@pytest.mark.slow
def test_scalar_tasks_get_columns_of_uncertainty(make_config, tmp_path):
    from PIL import Image

    folder = tmp_path / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{20 + i}_{i % 2}_{i}.png")
    config = make_config(text=SCALARS.replace("{cohort}", str(folder)))
    run.train(config)
    run.infer(config)
    rows = list(csv.DictReader((config.inference.save_seg_dir / "values.csv").open()))
    assert rows
    for row in rows:
        assert float(row["age_std"]) >= 0
        assert 0 <= float(row["gender_mutual_information"]) <= float(row["gender_entropy"]) + 1e-6 <= np.log(2) + 1e-5
        total = float(row["gender_probability_0"]) + float(row["gender_probability_1"])
        assert total == pytest.approx(1, abs=1e-5)
    assert max(float(row["age_std"]) for row in rows) > 0
