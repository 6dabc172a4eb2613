"""Chooses the devices: tf.distribute strategies by the names of the INI file."""

from collections.abc import Sequence
from typing import Any

from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, Problem, WorkerLost, counted

GPU_REMEDY = "for one of NVIDIA with its driver, pip install 'sfgkeras[gpu]'"


def configure_devices(cuda_devices: str | None, limit: int | None = None) -> None:
    """Hides every GPU but the listed ones, and lets TensorFlow take GPU memory as it needs it.

    Args:
        cuda_devices: Indices such as `"0,2"`; None leaves all visible.
        limit: Number of GPUs to leave visible, at most; None for all.

    Raises:
        ConfigError: If an index names no GPU.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if cuda_devices:
        indices = [int(index) for index in cuda_devices.replace(" ", "").split(",")]
        missing = [index for index in indices if index >= len(gpus)]
        if missing:
            found = f"but {counted(len(gpus), 'GPU is', 'GPUs are')} there" if gpus else "but no GPU is found"
            remedy = "leave the key out to use what there is" if gpus else f"{GPU_REMEDY}, or leave the key out"
            what = f"names GPU {missing[0]}, {found}"
            raise Problem(what, remedy, key="cuda_devices", value=cuda_devices, section="SYSTEM")
        gpus = [gpus[index] for index in indices]
    if limit is not None:
        gpus = gpus[:limit]
    if cuda_devices or limit is not None:
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


def missing_gpu(config: Config) -> str:
    """Words, in one line, that a GPU is asked for and none is found; empty where all is well or nobody asked."""
    import tensorflow as tf

    system = config.system
    if "num_gpus" not in system.model_fields_set or not system.num_gpus or tf.config.list_physical_devices("GPU"):
        return ""
    return (
        f"[SYSTEM] num_gpus = {system.num_gpus}, and no GPU is found: this runs on the CPU; {GPU_REMEDY}, or write "
        "num_gpus = 0"
    )


def repeat_bit_for_bit(seed: int) -> None:
    """Lets the CPU sum in one order whatever its threads do, so that two runs with one seed give the same numbers.

    Call it when the iterator over the training windows exists: TensorFlow makes data sets that start later without
    threads of their own. On a GPU nothing is changed; there it would cost speed.

    Args:
        seed: Seed of random operations outside the network, which TensorFlow then asks for.
    """
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        tf.random.set_seed(seed)
        tf.config.experimental.enable_op_determinism()


def repeat_no_longer() -> None:
    """Takes back `repeat_bit_for_bit`, before the iterator of a further training is made in the same process.

    TensorFlow has no public name for it; where it has none at all, that training's windows are made without threads.
    """
    from tensorflow.python.framework import config

    getattr(config, "disable_op_determinism", lambda: None)()


def build_strategy(name: str = "auto", num_gpus: int = 1) -> Any:
    """Builds the tf.distribute strategy.

    Args:
        name: `auto` (mirrored where there are several GPUs to use, otherwise one device), `one_device` or `mirrored`;
            `multi_worker` with a single worker is `auto`.
        num_gpus: Upper limit on the GPUs used. Without a GPU, `mirrored` runs on the logical CPU devices.

    Raises:
        ConfigError: If `mirrored` is asked for and there are fewer than two devices.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")[: max(num_gpus, 0)]
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "one_device" or (name in ("auto", "multi_worker") and len(gpus) < 2):
        return tf.distribute.OneDeviceStrategy(devices[0].name)
    if len(devices) < 2:
        raise Problem(
            f"needs two devices, found {len(devices)} (num_gpus = {num_gpus})",
            "use strategy = auto",
            key="strategy",
            value="mirrored",
            section="SYSTEM",
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def build_multi_worker_strategy(index: int, addresses: Sequence[str]) -> Any:
    """Builds the strategy of one worker among several, and waits until all of them are there.

    Args:
        index: Number of this worker.
        addresses: `host:port` of every worker, in the same order for all.

    Raises:
        ConfigError: If TensorFlow has been used before in this process.
        WorkerLost: If the workers do not find each other.
    """
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}), task_type="worker", task_id=index, rpc_layer="grpc"
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise ConfigError(
            f"[SYSTEM] strategy = multi_worker: {error}; it must be the first that a process does with TensorFlow, "
            "so train one network per process"
        ) from error
    except tf.errors.OpError as error:
        why = str(error.message).strip().splitlines()[0]
        raise WorkerLost(
            f"the workers {', '.join(addresses)} have not found each other ({why}); start all of them again"
        ) from error
