"""Motion on real brains: slices that were warped by a known motion, and neighbouring slices."""

import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sfgkeras.analysis.motion import jacobian, warp_volume
from sfgkeras.data.nifti import read_image
from sfgkeras.losses import WarpingLoss
from sfgkeras.networks import Head, QinNet

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
SUBJECTS = (1, 2, 4, 5, 9)
HELD_OUT = 57
SIDE = 96
STEPS, BATCH = 400, 8
PAIRS = 600
SMOOTHNESS = 0.2
"""Motion here changes over 10 voxels; most of a brain's slice has no edge that tells where it moved."""
FILLED = slice(5, 13)  # slices of the slabs that hold brain


def slices_of(real_data, number):
    """Slices of 2 mm, cut to the brain and whitened, and their tissue; `(slices, SIDE, SIDE)`."""
    found = []
    for name in (f"ilist{number}_T1", f"slist{number}_tissue"):
        volume = read_image(real_data / "mr_brain_multi" / f"{name}.nii.gz").array
        # The second axis of the files runs from slice to slice.
        half = np.moveaxis(volume, 1, 0)[:, ::2, ::2]
        rows, columns = ((size - SIDE) // 2 for size in half.shape[1:])
        padding = [(0, 0), *((max(-start, 0), max(-start, 0) + 1) for start in (rows, columns))]
        half = np.pad(half, padding)[:, max(rows, 0) :, max(columns, 0) :][:, :SIDE, :SIDE]
        found.append(half)
    slices = found[0][FILLED].astype("float32")
    slices = (slices - slices.mean(axis=(1, 2), keepdims=True)) / slices.std(axis=(1, 2), keepdims=True)
    return slices, np.rint(found[1][FILLED]).astype(int)


def smooth_motion(rng):
    """Displacements of up to about 3 voxels that change over 10 voxels, `(SIDE, SIDE, 1, 3)`."""
    flow = np.zeros((SIDE, SIDE, 1, 3))
    for axis in range(2):
        field = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 10)
        flow[..., 0, axis] = 3 * field / np.abs(field).max()
    return flow


def dice(first, second):
    masks = [(first == tissue, second == tissue) for tissue in (1, 2, 3)]
    return np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in masks])


@pytest.fixture(scope="module")
def network(real_data):
    """Learned from slices of five subjects, half of them upside down, and the same ones under known warps."""
    rng = np.random.default_rng(0)
    slices = np.concatenate([slices_of(real_data, number)[0] for number in SUBJECTS])
    pairs = []
    for _ in range(PAIRS):
        one = slices[rng.integers(len(slices))]
        if rng.random() < 0.5:
            one = one[::-1]
        pairs.append(np.stack([one, warp_volume(one[..., None], smooth_motion(rng))[..., 0]], axis=-1))
    network = QinNet({"motion": 2}, width=0.5, convolutions=1, heads={"motion": Head("motion", layers=(32,))}, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, STEPS)
    network.compile(keras.optimizers.Adam(rate), WarpingLoss(SMOOTHNESS))
    frames = np.stack(pairs).astype("float32")[rng.integers(PAIRS, size=STEPS * BATCH)]
    network.fit(frames, {"motion": frames}, batch_size=BATCH, verbose=0, shuffle=False)
    return network


@pytest.fixture(scope="module")
def found(network, real_data):
    """Of every slice of a new subject: error, motion, Dice of warped and of unmoved tissue, and folding."""
    slices, tissue = slices_of(real_data, HELD_OUT)
    rng, rows = np.random.default_rng(1), []
    for one, labels in zip(slices, tissue, strict=True):
        truth = smooth_motion(rng)
        moved = warp_volume(one[..., None], truth)[..., 0]
        warped = warp_volume(labels[..., None], truth, order=0)
        flow = np.zeros_like(truth)
        flow[..., 0, :2] = network.predict(np.stack([one, moved], axis=-1)[None].astype("float32"), verbose=0)["motion"]
        brain = warped[..., 0] > 0
        error, motion = (np.linalg.norm(each, axis=-1)[..., 0][brain].mean() for each in (flow - truth, truth))
        overlaps = [dice(warp_volume(labels[..., None], flow, order=0), warped), dice(labels[..., None], warped)]
        rows.append([error, motion, *overlaps, (jacobian(flow) <= 0).mean()])
    return np.mean(rows, axis=0)


def test_known_warps_of_a_new_brain_are_found_to_less_than_a_voxel(found):
    error, motion, *_, folding = found
    assert error < 1
    assert error < 0.9 * motion
    assert folding < 0.01


@pytest.mark.xfail(
    reason="after 400 steps most of the motion of a new brain is still to be found", raises=AssertionError
)
def test_most_of_the_motion_is_found_and_neighbouring_slices_are_brought_together(found, network, real_data):
    error, motion, warped, unmoved, _ = found
    assert error < 0.7 * motion
    assert warped > unmoved + 0.1
    slices, _ = slices_of(real_data, HELD_OUT)
    frames = np.stack([slices[:-1], slices[1:]], axis=-1).astype("float32")
    flows = np.pad(network.predict(frames, verbose=0)["motion"], [(0, 0)] * 3 + [(0, 1)])[:, :, :, None]
    before = np.mean([np.abs(a - b).mean() for a, b in zip(slices[:-1], slices[1:], strict=True)])
    moved = [warp_volume(each[..., None], flow)[..., 0] for each, flow in zip(slices[:-1], flows, strict=True)]
    after = np.mean(np.abs(np.stack(moved) - slices[1:]))
    assert after < 0.9 * before
