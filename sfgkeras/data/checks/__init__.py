"""Looks at all files before anything is computed from them: `subjects` asks `headers` first, then `voxels`."""

from sfgkeras.data.checks.problems import Problem, SourceInfo
from sfgkeras.data.checks.subjects import check_shared_files, check_subjects

__all__ = ["Problem", "SourceInfo", "check_shared_files", "check_subjects"]
