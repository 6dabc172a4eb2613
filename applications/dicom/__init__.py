"""Results as DICOM: a synthetic CT as a series, organs as a segmentation object and as structures."""
