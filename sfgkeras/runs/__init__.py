"""Whole runs from Python, as the verbs of the command line do them; what they leave, as tables, figures and images.

`import sfgkeras` alone gives them: `sfgkeras.train("demo")`. TensorFlow is loaded by what needs it, and not before.
"""

from sfgkeras.runs.comparison import Comparison
from sfgkeras.runs.predictions import Predictions
from sfgkeras.runs.run import Run, open_run
from sfgkeras.runs.verbs import check, compare, evaluate, export, infer, predict, preprocess, report, train

__all__ = [
    "Comparison",
    "Predictions",
    "Run",
    "check",
    "compare",
    "evaluate",
    "export",
    "infer",
    "open_run",
    "predict",
    "preprocess",
    "report",
    "train",
]
