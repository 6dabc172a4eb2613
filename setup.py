"""Maps the three top-level folders into the one installed package; all else is in pyproject.toml."""

from setuptools import find_packages, setup

MAPPED = ("applications", "preprocessing", "ini_configs")

own = [p for p in find_packages(include=["sfgkeras", "sfgkeras.*"]) if p.split(".")[1:2] not in ([m] for m in MAPPED)]
mapped = [f"sfgkeras.{p}" for p in find_packages(include=[f"{m}{suffix}" for m in MAPPED for suffix in ("", ".*")])]

setup(
    packages=own + mapped,
    package_dir={f"sfgkeras.{folder}": folder for folder in MAPPED},
    package_data={
        "sfgkeras.ini_configs": ["*.ini"],
        "sfgkeras": ["py.typed"],
        "sfgkeras.pages": ["page.css", "page.js", "templates/*.html", "vendor/*"],
    },
)
