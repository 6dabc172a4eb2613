"""The command line: one verb per function, the only exit codes; TensorFlow is loaded inside a verb, never before."""

from sfgkeras.cli import files, runs  # noqa: F401  # their verbs join the group
from sfgkeras.cli.arguments import parse_overrides, parse_settings, parse_slice
from sfgkeras.cli.process import main

__all__ = ["main", "parse_overrides", "parse_settings", "parse_slice"]
