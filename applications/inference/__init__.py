"""From a trained network to results on each subject's own grid."""
