"""HDF5 files with a row for each subject.

`files` opens them and keeps them open, `packing` unpacks chunks, `rows` reads data sets row by row, `source` makes
subjects of rows, `writer` writes files.
"""
