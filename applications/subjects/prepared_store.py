"""What keeps prepared images and targets: the disk, or memory for pictures that are prepared anew as fast."""

from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.memory import total_memory
from sfgkeras.config import Config
from sfgkeras.data.on_demand import OnDemandStore
from sfgkeras.data.volumes import VolumeStore

MEMORY_PART = 8
"""The part of a machine's memory that pictures may fill: one byte in so many."""

USUAL_MEMORY = 8 << 30
"""Bytes of memory where a machine does not say how much it has."""


def choose_store(config: Config, cohort: Cohort) -> VolumeStore | OnDemandStore:
    """Returns the disk, or memory where all images of a cohort are read about as fast as prepared copies of them."""
    images = [image for subject in cohort.subjects.values() for image in subject.images.values()]
    resampled = any(config.sources[name].pixdim for name in config.image)
    if images and not resampled and config.preprocessing is None and all(image.is_quick for image in images):
        return OnDemandStore((total_memory() or USUAL_MEMORY) // MEMORY_PART)
    return VolumeStore(config.system.cache_dir)
