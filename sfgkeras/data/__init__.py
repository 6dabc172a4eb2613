"""Images and subjects, from files to the windows that a network trains on, and from windows back to volumes.

Nothing is imported here: modules are named in full, so that who reads an image file loads no TensorFlow.

| question | modules |
|---|---|
| What does a file hold? | `nifti` (all images), `nifti_format`, `image_formats` (photos, DICOM), `scaling` |
| Where are its voxels? | `grids`, `orientation`, `points` (boxes and places that move with the image) |
| Which files are there, and whose? | `file_search`, `image_folder`, `subjects` (and phases), `sources`, `references` |
| What of HDF5 files? | `hdf5/`: `files`, `packing`, `rows`, `source`, `writer` |
| What is wrong with them? | `checks/`: `subjects`, `headers`, `voxels`, `problems` |
| What is kept ready? | `prepared` (a subject), `volumes` (on the disk), `on_demand`, `scratch` |
| What does a window hold? | `samplers`, `windows`, `window_targets` |
| How is it changed? | `augmentation`, `deformation`, `inverse`, `interpolation` |
| How does it reach training? | `pipeline`, `pipeline_threads` |
| How do windows become a volume? | `aggregators` |
"""
