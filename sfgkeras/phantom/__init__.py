"""Synthetic cohorts with known truth: a kind is one file, and one line in `kinds`."""
