"""Fixtures for every test: the folder of real images, and a quiet TensorFlow."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REAL_DATA = Path(os.environ.get("SFGKERAS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that use it carry the mark `real_data`."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real images at {REAL_DATA}; set SFGKERAS_REAL_DATA")
    return REAL_DATA
