"""What a run leaves behind: its folder, saved states, logs."""
