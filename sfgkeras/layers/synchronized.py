"""Normalisation over all replicas of a tf.distribute strategy, as if one device had the whole batch."""

from typing import Any

from sfgkeras.layers.own_gradient import own_gradient


def replica_context() -> Any:
    """Returns the replica context of a strategy with more than one replica, or None."""
    import tensorflow as tf

    if not tf.distribute.has_strategy():
        return None
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def batch_normalize(inputs: Any, scale: Any, offset: Any, epsilon: float, data_format: str) -> tuple[Any, Any, Any]:
    """Normalises by the moments over all replicas with fused operations: one exchange forward, one in the gradient.

    With x' the normalised input, N the number of voxels and sums over all replicas, the gradient is (Ioffe and Szegedy
    2015)

        dx = scale / std * (dy - sum(dy) / N - x' * sum(dy * x') / N)

    whose first term and own sums come out of the fused gradient of a normalisation by constants.

    Args:
        inputs: `(batch, *spatial, channels)` of rank 4 or 5.
        scale: float32, `(channels,)`.
        offset: float32, `(channels,)`.
        epsilon: Added to the variance.
        data_format: `NHWC` or `NDHWC`.

    Returns:
        The normalised tensor in the type of `inputs`; the mean and the variance, float32 `(channels,)`, into which no
        gradient flows.
    """
    import tensorflow as tf

    settings = {"epsilon": epsilon, "data_format": data_format, "is_training": False}

    @own_gradient
    def normalize(x: Any, scale: Any, offset: Any) -> Any:
        mean, variance, count = moments(x, replica_context())
        fused = tf.raw_ops.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=mean, variance=variance, **settings)

        def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
            local = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=x,
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=fused.reserve_space_3,
                **settings,
            )
            own = tf.stack([local.offset_backprop, local.scale_backprop])
            sums = replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own) / count
            # The part that goes through the moments is itself a scaled and shifted x'.
            offset_back, scale_back = tf.unstack(-scale * tf.math.rsqrt(variance + epsilon) * sums)
            through_moments = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=scale_back, offset=offset_back, mean=mean, variance=variance, **settings
            )
            return local.x_backprop + through_moments.y, local.scale_backprop, local.offset_backprop

        return (fused.y, mean, variance), gradient

    return normalize(inputs, tf.convert_to_tensor(scale), tf.convert_to_tensor(offset))


def moments(inputs: Any, context: Any) -> tuple[Any, Any, Any]:
    """Moments over all replicas with one exchange, in which every replica has a row for its own moments.

    They are combined as in Chan et al. 1979 (Updating formulae and a pairwise algorithm for computing sample
    variances): squares of distances from the replicas' own means, and of these from the common one. No large squares
    cancel.

    Returns:
        Mean and variance `(channels,)`, and the number of voxels, at least 1.
    """
    import tensorflow as tf

    axes = list(range(len(inputs.shape) - 1))
    channels = inputs.shape[-1]
    wide = tf.cast(inputs, "float32")
    count = tf.cast(tf.size(wide, tf.int64) // channels, "float32")
    own_mean = tf.reduce_sum(wide, axes) / tf.maximum(count, 1.0)
    own_squares = tf.reduce_sum(tf.math.squared_difference(wide, own_mean), axes)
    row = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    own = tf.concat([own_mean, own_squares, count[None]], 0)
    rows = context.all_reduce(tf.distribute.ReduceOp.SUM, row[:, None] * own)
    means, squares, counts = rows[:, :channels], rows[:, channels:-1], tf.stop_gradient(rows[:, -1:])
    total = tf.maximum(tf.reduce_sum(counts), 1.0)
    mean = tf.reduce_sum(counts * means, 0) / total
    distances = tf.reduce_sum(counts * tf.math.squared_difference(means, mean), 0)
    return mean, (tf.reduce_sum(squares, 0) + distances) / total, total
