"""One page of a run."""
