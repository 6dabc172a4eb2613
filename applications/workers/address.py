"""Where this process stands among the workers of a run: from TF_CONFIG, or from the variables of a SLURM step."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from sfgkeras.config import Config
from sfgkeras.errors import ConfigError

TF_CONFIG = "TF_CONFIG"
FIRST_PORT, NUM_PORTS = 12000, 20000
"""Ports of SLURM steps: below those that Linux gives to outgoing connections, and different from job to job."""

EXAMPLE = '{"cluster": {"worker": ["host_a:12345", "host_b:12345"]}, "task": {"type": "worker", "index": 0}}'
REMEDY = (
    f"[SYSTEM] strategy = multi_worker: set {TF_CONFIG} on every machine, e.g. {EXAMPLE}, or start all workers with "
    "srun (docs/distributed.md)"
)


@dataclass(frozen=True)
class Place:
    """One worker among several; the first is the chief, who alone writes.

    Attributes:
        index: Number of this worker, from 0.
        addresses: `host:port` of every worker, in their order; a run of one process has no use for its own.
    """

    index: int = 0
    addresses: tuple[str, ...] = ("localhost:0",)

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.addresses)

    @property
    def name(self) -> str:
        """What messages call this worker."""
        return f"worker {self.index} of {self.count}"


def find_place(config: Config, required: bool = True) -> Place:
    """Finds out which worker this process is; without `strategy = multi_worker` it is the only one.

    Args:
        config: The configuration.
        required: Whether the variables must be there; without them it is the only one, too.

    Raises:
        ConfigError: If the variables are missing or do not fit each other.
    """
    if config.system.strategy != "multi_worker":
        return Place()
    if os.environ.get(TF_CONFIG):
        return _place_of_tf_config(os.environ[TF_CONFIG])
    if "SLURM_STEP_NODELIST" in os.environ and "SLURM_PROCID" in os.environ:
        return _place_of_slurm()
    if not required:
        return Place()
    raise ConfigError(f"neither {TF_CONFIG} nor a SLURM step says which worker this is; {REMEDY}")


def _place_of_tf_config(text: str) -> Place:
    try:
        cluster, task = _cluster_and_task(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{TF_CONFIG} = {text!r} cannot be used ({error!r}); {REMEDY}") from None
    unknown = sorted(set(cluster) - {"chief", "worker"})
    if unknown:
        raise ConfigError(
            f"{TF_CONFIG}: the cluster has {unknown[0]!r}, and workers are equal here; name all under 'worker'"
        )
    chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    addresses = (*chiefs, *workers)
    repeated = {address for address in addresses if addresses.count(address) > 1}
    if repeated:
        raise ConfigError(f"{TF_CONFIG}: two workers have the address {repeated.pop()!r}; give each its own port")
    kind, index = task
    names = cluster.get(kind, [])
    if not 0 <= index < len(names):
        raise ConfigError(
            f"{TF_CONFIG}: the task is {kind} {index}, and the cluster has {len(names)} of that type; they count from 0"
        )
    return Place(index + (len(chiefs) if kind == "worker" else 0), addresses)


def _cluster_and_task(content: Any) -> tuple[dict[str, list[str]], tuple[str, int]]:
    """Returns addresses by type of task, and type and index of this one."""
    cluster = {str(kind): [str(address) for address in names] for kind, names in content["cluster"].items()}
    if not any(cluster.values()):
        raise ValueError("the cluster is empty")
    return cluster, (str(content["task"]["type"]), int(content["task"]["index"]))


def _place_of_slurm() -> Place:
    """Resolves the hosts of a SLURM step; every worker finds the same ports, which depend on job and step."""
    import tensorflow as tf

    step = int(os.environ.get("SLURM_JOB_ID", 0)) + 101 * int(os.environ.get("SLURM_STEP_ID", 0))
    try:
        index = int(os.environ["SLURM_PROCID"])
        # The GPUs are bound by srun, not by the resolver: it is told of enough for every task to get an address.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=FIRST_PORT + step % NUM_PORTS, gpus_per_node=1 << 16, gpus_per_task=1, auto_set_gpu=False
        )
        found = resolver.cluster_spec().as_dict()["worker"]
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the SLURM step cannot be understood ({error}); {REMEDY}") from error
    # SLURM counts node9 before node10 and gives out tasks in that order; the resolver sorts letters.
    addresses = tuple(sorted(found, key=_natural_order))
    own = os.environ.get("SLURMD_NODENAME")
    host = addresses[index].rpartition(":")[0]
    if own is not None and own != host:
        raise ConfigError(
            f"SLURM task {index} runs on {own}, and should on {host}: tasks must fill one node after the other; add "
            f"--distribution=block to srun, or set {TF_CONFIG}"
        )
    return Place(index, addresses)


def _natural_order(address: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", address)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
