"""The maps of where an image speaks for a class that inference can write; their mathematics: `networks.class_maps`."""

from collections.abc import Mapping
from types import MappingProxyType

CLASS_MAPS: Mapping[str, str] = MappingProxyType(
    {
        "cam": "the last feature maps weighed by the class's weights (class activation maps), for heads of one layer "
        "behind the average",
        "grad_cam": "weighed by the gradient of the class, and what speaks against it cut off (Grad-CAM), for any head",
    }
)
"""What each one is."""
