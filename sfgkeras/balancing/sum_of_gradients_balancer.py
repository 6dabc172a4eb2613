"""The sum of the losses, each a mean over the samples that have a label of its task."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from sfgkeras.balancing.balancer import OverDevices
from sfgkeras.balancing.fixed_balancer import FixedBalancer
from sfgkeras.balancing.gradients import on_one_device


class SumOfGradientsBalancer(FixedBalancer):
    """`sum_t w_t L_t / n_t`, with the fraction `n_t` of the batch that has a label of the task.

    The gradient of a sum is the sum of the gradients, so one backward pass does it.

    Args:
        weights: `w_t` by task, in the order of the tasks.
    """

    def total(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        training: bool = False,
        over_devices: OverDevices = on_one_device,
    ) -> Any:
        """Returns the objective of a batch; a task without labels adds nothing."""
        if presence is not None and losses:
            parts = ops.stack([ops.cast(ops.convert_to_tensor(presence[task]), "float32") for task in losses])
            shares = ops.unstack(over_devices(parts), num=len(losses))
            losses = {
                task: ops.divide_no_nan(loss, share) for (task, loss), share in zip(losses.items(), shares, strict=True)
            }
        return super().total(losses, presence, training, over_devices)
