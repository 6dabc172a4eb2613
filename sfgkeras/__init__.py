"""Multi-task learning for medical images with Stochastic Filter Groups."""

__version__ = "0.1.0"
