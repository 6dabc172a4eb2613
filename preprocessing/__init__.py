"""Preprocessing of NIfTI volumes: pure functions on arrays and one loop over a folder, without TensorFlow."""
