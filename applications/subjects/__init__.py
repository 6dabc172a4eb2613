"""Who is in a run: subjects found, checked, prepared."""
