"""INI files that are shipped with the package."""
