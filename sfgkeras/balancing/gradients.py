"""What a balancing rule may ask of a training step: gradients of scalars, and sums over devices."""

from collections.abc import Callable, Sequence
from typing import Any


def on_one_device(tensor: Any) -> Any:
    """Returns a tensor as it is: the sum over the only device."""
    return tensor


class Gradients:
    """Differentiates scalars of a training step; called, it returns one gradient for each variable.

    Args:
        variables: What is trained, in the order in which the step takes gradients.
        differentiate: Returns the gradients of a scalar with respect to a list of variables, times `scale`: None for
            those that it does not depend on. Of several devices each gives its part.
        over_devices: Returns the sum of a tensor over all devices.
        scale: Factor of all gradients, which the optimiser takes away again; 1 but for float16.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        differentiate: Callable[[Any, Sequence[Any]], Sequence[Any]],
        over_devices: Callable[[Any], Any] = on_one_device,
        scale: Any = 1.0,
    ) -> None:
        self.variables = list(variables)
        self.over_devices = over_devices
        self.scale = scale
        self._differentiate = differentiate

    def __call__(self, scalar: Any, variables: Sequence[Any] | None = None) -> list[Any]:
        """Returns this device's part of the gradients of a scalar, times `scale`; by default of all variables."""
        return list(self._differentiate(scalar, self.variables if variables is None else variables))

    def reached(self, scalar: Any) -> list[bool]:
        """Says for every variable whether a scalar depends on it."""
        return [gradient is not None for gradient in self(scalar)]
