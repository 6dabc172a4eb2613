"""From prepared subjects to a trained network."""
