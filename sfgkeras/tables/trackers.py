"""Where the curves of a training go besides its own files: what `[TRAINING] trackers` may name."""

TRACKERS: dict[str, str] = {
    "mlflow": "MLflow: the server of MLFLOW_TRACKING_URI, or else a file in the logs of the run",
    "wandb": "Weights & Biases: online with WANDB_API_KEY or WANDB_MODE = online, else offline in the logs",
}
"""What each name stands for; the extra of the package that brings the library has the same name."""
