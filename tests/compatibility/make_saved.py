"""Writes the small saved networks that later versions must go on reading: run by hand, at the version to be kept.

    python tests/compatibility/make_saved.py

It packs them into saved_VERSION.zip. An archive that is here is never made anew: it is what users of that version have
on their disks.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

SIZE, POOLING_SIZE = 12, 16
TASKS = {"ct": 1, "organs": 3}
SHARINGS = ("sfg", "hard_sharing", "single_task", "constant_mask", "constant_p", "cross_stitch")


def images(rank: int, channels: int) -> np.ndarray:
    """Returns the input of every saved output, `(2, *spatial, channels)`."""
    return np.random.default_rng(1).normal(size=(2, *(SIZE,) * rank, channels)).astype("float32")


def scramble(network: keras.Model) -> None:
    """Gives every variable a value that no rounding hides, and every filter a group of its own choice."""
    rng = np.random.default_rng(2)
    for grouping in network.groupings().values():
        corners = np.eye(grouping.num_groups)[rng.integers(grouping.num_groups, size=grouping.filters)] == 1
        grouping.grouping_logits.assign(np.where(corners, 5.0, -20.0))
    for variable in network.trainable_variables:
        if variable.path.endswith(("gamma", "alpha")):
            variable.assign(rng.uniform(0.3, 1.2, size=variable.shape))
        elif variable.path.endswith(("beta", "bias")):
            variable.assign(rng.normal(size=variable.shape))
    for layer in network.normalizations():
        layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
        layer.moving_variance.assign(rng.uniform(0.5, 2.0, size=layer.moving_mean.shape))


def save(folder: Path, name: str, network: keras.Model, hardened: bool) -> None:
    """Writes a network, what it gives, its training state, and its hardened form."""
    from sfgkeras.applications.records.checkpoints import TrainingState, collect_arrays, write_state
    from sfgkeras.networks import harden

    network.masks = "mode"
    expected = {
        task: np.asarray(output)
        for task, output in network(images(network.spatial_rank, network.image_channels)).items()
    }
    network.save(folder / f"{name}.keras")
    np.savez_compressed(folder / f"{name}_expected.npz", **expected)
    write_state(folder / f"{name}_state.npz", TrainingState(collect_arrays(network), {"iteration": 7}))
    if hardened:
        harden(network).save(folder / f"{name}_hardened.keras")


def make_all(folder: Path) -> None:
    """Writes every saved network into a folder."""
    from sfgkeras.networks import VGG11, HighResNet

    kinds = {f"highresnet_{name}": (HighResNet, name, 2, name in ("sfg", "cross_stitch")) for name in SHARINGS}
    kinds |= {"highresnet_3d": (HighResNet, "sfg", 3, False), "vgg11_sfg": (VGG11, "sfg", 2, True)}
    for name, (kind, sharing, rank, hardened) in kinds.items():
        pools = kind is VGG11
        network = kind(TASKS, sharing, rank, width=0.03125 if pools else 0.125, seed=3, name="network")
        network.build((None, *(POOLING_SIZE if pools else SIZE,) * rank, 2))
        scramble(network)
        save(folder, name, network, hardened)


def main() -> None:
    """Writes the archive of the present version, unless there is one."""
    import sfgkeras

    archive = Path(__file__).parent / f"saved_{sfgkeras.__version__}.zip"
    if archive.exists():
        sys.exit(f"{archive} is there already; what a version saved is never made anew")
    with tempfile.TemporaryDirectory() as made:
        make_all(Path(made))
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for path in sorted(Path(made).iterdir()):
                packed.write(path, path.name)


if __name__ == "__main__":
    main()
