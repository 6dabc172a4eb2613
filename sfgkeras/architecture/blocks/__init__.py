"""Kinds of blocks, one file each: what a block consists of. `sfgkeras.tables.blocks` knows them by name."""
