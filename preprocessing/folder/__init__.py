"""The run over a folder: what is there, one job a subject, what was done; the steps know nothing of it."""

from sfgkeras.preprocessing.folder.run import FolderResult, run_folder

__all__ = ["FolderResult", "run_folder"]
