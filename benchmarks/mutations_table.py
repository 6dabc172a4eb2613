"""The mutations of `mutations.py`: by file the fast tests that have to notice, and each text with what replaces it.

Texts occur once in their file. A row that no longer applies is reported as stale; give it the new text or drop it.
"""

from typing import NamedTuple


class Mutated(NamedTuple):
    """One file and its mutations.

    Attributes:
        path: The file, from the root of the checkout.
        tests: Arguments of pytest that name the tests that have to fail.
        changes: Texts and their replacements.
    """

    path: str
    tests: tuple[str, ...]
    changes: tuple[tuple[str, str], ...]


GROUPING_TESTS = ("tests/grouping/test_grouping.py",)
MASK_TESTS = ("tests/networks/test_masks.py", "tests/layers/test_filter_grouping.py")
STEP_TESTS = ("tests/applications/training/test_training_step.py",)

TABLE: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/grouping.py",
        GROUPING_TESTS,
        (
            ("ops.maximum(minimum, initial * decay)", "initial * decay"),
            ("ops.maximum(minimum, initial * decay)", "ops.maximum(minimum, decay)"),
            ('ops.cast(step, "float32") * -rate', 'ops.cast(step, "float32") * rate'),
            ("return log_weights - ops.logsumexp(log_weights, axis=-1, keepdims=True)", "return log_weights"),
            ("is_small = logits < -15.0", "is_small = logits < -1.0"),
            ("positive + np.log(-np.expm1(-positive))", "np.log(-np.expm1(-positive))"),
            ("return ((1.0 - SHARED_PROBABILITY) / num_tasks,)", "return ((1.0 - SHARED_PROBABILITY) / 2,)"),
            ("vertices * 0.9 +", "vertices * 0.8 +"),
            ("return -ops.log(-ops.log(", "return ops.log(-ops.log("),
            ("SMALLEST_UNIFORM, 1.0 - 2.0**-24)", "SMALLEST_UNIFORM, 1.0)"),
            (
                "return ops.softmax((log_probabilities + gumbel_noise) / temperature, axis=-1)",
                "return ops.softmax(log_probabilities + gumbel_noise, axis=-1)",
            ),
            (
                "return ops.softmax((log_probabilities + gumbel_noise) / temperature, axis=-1)",
                "return ops.softmax((ops.exp(log_probabilities) + gumbel_noise) / temperature, axis=-1)",
            ),
            (
                "one_hot = mode_assignment(log_probabilities + gumbel_noise)",
                "one_hot = mode_assignment(log_probabilities)",
            ),
            ("return ops.stop_gradient(one_hot) + (relaxed - ops.stop_gradient(relaxed))", "return relaxed"),
            ("+ (relaxed - ops.stop_gradient(relaxed))", "+ ops.stop_gradient(relaxed - relaxed)"),
            ("num_groups - distance, 0)", "1, 0)"),
            (
                "return -ops.sum(probabilities * ops.log(safe), axis=-1)",
                "return -ops.mean(probabilities * ops.log(safe), axis=-1)",
            ),
            ("(round(counts[group] - exact[group], 9), group != last, group)", "(group != last, group)"),
            (
                "(round(counts[group] - exact[group], 9), group != last, group)",
                "(round(counts[group] - exact[group], 9), group)",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/layers/filter_grouping.py",
        MASK_TESTS,
        (
            (
                "return draw(log_probabilities, noise, temperature)",
                "return draw(log_probabilities, noise, 1.0)",
            ),
            (
                'expected_assignment(log_probabilities, ops.cast(temperature, "float32"))',
                "expected_assignment(log_probabilities, 1.0)",
            ),
            ("return draw(log_probabilities, noise, ", "return grouping.relaxed_assignment(log_probabilities, noise, "),
            ("if training and self.per_sample:", "if self.per_sample:"),
            ("uniform_rows(shape, self.training_draws)", "uniform_rows(shape[-2:], self.training_draws)"),
            ("seed = self.training_draws if training else self.inference_draws", "seed = self.training_draws"),
            ("self.decay * ops.sum(", "-self.decay * ops.sum("),
            ("self.decay * ops.sum(", "self.decay * ops.mean("),
            ("EntropyBonus(self.entropy_decay) if self.entropy_decay else None", "None"),
            ("trainable=self.learn_grouping", "trainable=True"),
            ('super().__init__(**(kwargs | {"dtype": "float32"}))', "super().__init__(**kwargs)"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/base.py",
        ("tests/networks/test_masks.py", "tests/networks/test_sfg_networks.py"),
        (
            ("self.trunk(images, self.temperature,", "self.trunk(images, ops.ones_like(self.temperature),"),
            ("SeedSequence([self.seed, layer, *numbers])", "SeedSequence([self.seed, *numbers])"),
            ("SeedSequence([self.seed, layer, *numbers])", "SeedSequence([self.seed, layer])"),
            (
                "if training and self.counts_iterations:\n            self.iteration",
                "if self.counts_iterations:\n            self.iteration",
            ),
            ("self.iteration.assign(self.iteration + 1)", "self.iteration.assign(self.iteration + 2)"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/sfg_convolution.py",
        ("tests/networks/test_masks.py", "tests/layers/test_sfg_convolution.py"),
        (
            (
                "temperature_schedule(ops.convert_to_tensor(self.iteration), *self.temperature)",
                "ops.convert_to_tensor(1.0)",
            ),
            ('folds_masks=assignment == "soft"', "folds_masks=True"),
            ("activation(feature, mask, training=training)", "activation(feature, None, training=training)"),
            ("merge_streams(inputs, self.routing)", 'merge_streams(inputs, "separate")'),
        ),
    ),
    Mutated(
        "sfgkeras/architecture/layer_settings.py",
        ("tests/networks/test_masks.py", "tests/networks/test_sfg_networks.py"),
        (("folds_masks=folds_masks,", "folds_masks=True,"),),
    ),
    Mutated(
        "sfgkeras/architecture/blocks/residual.py",
        ("tests/networks/test_masks.py", "tests/networks/test_sfg_networks.py"),
        (("BlockConvolution(size, stage.dilation)", "BlockConvolution(size, 1)"),),
    ),
    Mutated(
        "sfgkeras/sharing/masked_trunk.py",
        (
            "tests/sharing/test_trunks_by_hand.py",
            "tests/networks/test_sfg_networks.py",
            "tests/networks/test_constant_sharing.py",
        ),
        (
            (
                "supports = one_each(merge_sources(dict(zip(groups, masks, strict=True)), sources))",
                "supports = dict(zip(groups, masks, strict=True))",
            ),
            ("if self.sharing.mask_residual:", "if False:"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/draws.py",
        ("tests/layers/test_draws.py",),
        (
            ("return tf.gather(whole, rows_of_replica(context, shape[0]))", "return whole[: shape[0]]"),
            ("worker + workers * (device * batch_size", "worker + (device * batch_size"),
            (
                "worker, device = replica // devices, replica % devices",
                "worker, device = replica % devices, replica // devices",
            ),
            ("inputs * (1.0 / (1.0 - self.rate))", "inputs"),
            (">= self.rate", "< self.rate"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/routing.py",
        ("tests/layers/test_routing.py",),
        (
            ("return (reader, shared)", "return (reader,)"),
            ('if routing == "separate" or reader == shared:', 'if routing == "separate":'),
            ("return tuple(range(num_groups))", "return tuple(range(num_groups - 1))"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/normalization.py",
        ("tests/layers/test_normalization.py",),
        (
            ("scale, offset = scale * filter_mask, offset * filter_mask", "scale = scale * filter_mask"),
            (
                "average * self.momentum + value * (1.0 - self.momentum)",
                "average * (1.0 - self.momentum) + value * self.momentum",
            ),
            ("updates = bool(training) and self.trainable", "updates = bool(training)"),
            ("self._move(self.moving_variance, variance)", "self._move(self.moving_variance, mean)"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/activation.py",
        (
            "tests/layers/test_activation.py",
            "tests/layers/test_residual.py",
            "tests/layers/test_sfg_convolution.py",
            "tests/networks/test_masks.py",
        ),
        (
            (
                '("prelu", "relu", "leaky_relu", "linear")',
                '("prelu", "relu", "leaky_relu", "linear", "sigmoid", "tanh", "elu")',
            ),
            ("return outputs if filter_mask is None or folds else apply_mask(outputs, filter_mask)", "return outputs"),
            ("and self.folds_masks\n", "\n"),
        ),
    ),
    Mutated(
        "applications/training/step.py",
        STEP_TESTS,
        (
            ("tf.reduce_sum(value) / self._global_batch_size", "tf.reduce_sum(value)"),
            ("task: count / self._global_batch_size", "task: count"),
            ("/ self._strategy.num_replicas_in_sync", "/ 1.0"),
            ("outputs[task], weights[task]) for task, loss in", "outputs[task]) for task, loss in"),
            ("outputs = self._network(images, training=False)", "outputs = self._network(images, training=True)"),
            ("sums[name] = sums.get(name, 0.0) + float(part)", "sums[name] = float(part)"),
            ("            metric.reset_state()\n", "            pass\n"),
            ("tf.cast(weight, tf.float32) > 0.0", "tf.cast(weight, tf.float32) > -1.0"),
        ),
    ),
    Mutated(
        "applications/training/optimizers.py",
        STEP_TESTS,
        (
            ("self._grouping.apply([gradient / scale * own for", "self._main.apply([gradient / scale * own for"),
            ("[gradient / scale * own for gradient in of_logits]", "[gradient for gradient in of_logits]"),
            ("[gradient / scale * own for gradient in of_logits], ", "[gradient * own for gradient in of_logits], "),
            ("return count > 0", "return count > 1"),
            ("for found in (of_variables, of_logits):", "for found in (of_variables,):"),
            ("for found in (of_variables, of_logits):", "for found in (of_logits,):"),
            ("if self._grouping is None or not logits:", "if not logits:"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/balancer.py",
        ("tests/balancing/test_balancer.py", "tests/applications/training/test_loss_balance.py"),
        (
            ("weights[task] * loss for task, loss", "loss for task, loss"),
            ("* term if training else term)", "* term if not training else term)"),
            ("True, over_devices) + extra", "True, over_devices)"),
            ("active[self.tasks.index(task)] = 0.0", "active[0] = 0.0"),
        ),
    ),
    Mutated(
        "applications/training/early_stopping.py",
        ("tests/applications/training/test_early_stopping.py",),
        (
            ("min(losses[1:]) >= losses[0]", "min(losses[1:]) > losses[0]"),
            ("losses[-1] > np.mean(losses[:-1]) + MIN_DELTA", "losses[-1] > np.mean(losses) + MIN_DELTA"),
            ("MIN_DELTA = 0.03", "MIN_DELTA = 0.0"),
            ("np.percentile(earlier, [5, 95])", "np.percentile(earlier, [0, 100])"),
            ("(earlier >= low) & (earlier <= high)", "earlier <= high"),
            ("losses[-1] > np.median(losses[:-1]) + MIN_DELTA", "losses[-1] > np.mean(losses[:-1]) + MIN_DELTA"),
            ("losses[-1] - lowest > 0.2 * abs(lowest)", "losses[-1] - lowest > 0.3 * abs(lowest)"),
            ("losses[-1] - lowest > 0.2 * abs(lowest)", "losses[-1] > 1.2 * lowest"),
            ("half = len(losses) // 2", "half = (len(losses) + 1) // 2"),
            ("np.median(np.lib.stride_tricks", "np.mean(np.lib.stride_tricks"),
            ("smooth[-1] > np.median(smooth[:-1]) + MIN_DELTA", "smooth[-1] > np.median(losses[:-1]) + MIN_DELTA"),
        ),
    ),
    Mutated(
        "applications/training/stopping.py",
        ("tests/applications/training/test_stopping.py",),
        (
            ("list(losses[-(self.patience + 1) :])", "list(losses)"),
            ("0 < self.patience < len(losses):", "0 < self.patience <= len(losses):"),
        ),
    ),
    Mutated(
        "sfgkeras/callbacks/grouping_convergence.py",
        ("tests/callbacks/test_grouping_convergence.py",),
        (
            ("0.5 * np.abs(", "1.0 * np.abs("),
            ("for _, note in self._notes)", "for _, note in list(self._notes)[:1])"),
            ("or self._notes[0][0] > iteration - self.window", ""),
            ("self._notes[1][0] <= iteration - self.window", "self._notes[0][0] <= iteration - self.window"),
            ("return max(\n", "return min(\n"),
        ),
    ),
    Mutated(
        "sfgkeras/callbacks/grouping_file.py",
        ("tests/callbacks/test_grouping_history.py",),
        (
            ("if size + len(content) > max(path.stat().st_size, SMALLEST_APPENDED):", "if True:"),
            ("if size + len(content) > max(path.stat().st_size, SMALLEST_APPENDED):", "if False:"),
            ("if len(record) < length or zlib.crc32(record) != expected:", "if False:"),
            ("if not content.startswith(head):", "if False:"),
            ("or len(values) != len(iterations) ", ""),
            ("    if _beside(path).is_file():\n", "    if False:\n"),
        ),
    ),
    Mutated(
        "sfgkeras/callbacks/grouping_history.py",
        ("tests/callbacks/test_grouping_history.py",),
        (
            ("if noted <= iteration and", "if"),
            ("or iteration % self.every_n", ""),
            ("self._written = len(self._iterations)", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/regression.py",
        ("tests/losses/test_regression_losses.py",),
        (
            ("values = ops.mean(values, axis=-1)", "values = ops.sum(values, axis=-1)"),
            ("root = ops.where(sum_per_sample(weight_map) > 0, root, 0.0)", "pass"),
            (
                "return 0.5 * channels * sum_per_sample(values) * factor",
                "return channels * sum_per_sample(values) * factor",
            ),
            ("inner * (size - 0.5 * inner)", "inner * (size - inner)"),
            ("delta=beta) / beta", "delta=beta)"),
            ("return root * factor", "return root"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/base.py",
        ("tests/losses/test_regression_losses.py", "tests/losses/test_segmentation_losses.py"),
        (
            (
                "ops.divide_no_nan(sum_per_sample(values * weight_map), sum_per_sample(weight_map))",
                "ops.mean(values * weight_map, axis=tuple(range(1, len(values.shape))))",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/losses/segmentation.py",
        ("tests/losses/test_segmentation_losses.py",),
        (
            ("(2.0 * overlap + smooth) / (total + smooth)", "(overlap + smooth) / (total + smooth)"),
            ("ops.where(in_truth > 0, smoothing, absent_smoothing)", "ops.where(in_truth > 0, smoothing, smoothing)"),
            ("loss if include_background else loss[:, 1:]", "loss"),
            (
                "one_hot, weighted = one_hot * weights, probability * weights",
                "one_hot, weighted = one_hot * weights, probability",
            ),
            ("(dice + cross_entropy_from(one_hot, log_probability, weight_map)) * factor", "dice * factor"),
            (
                "return cross_entropy_from(one_hot, log_probability, weight_map) * factor",
                "return cross_entropy_from(one_hot, log_probability) * factor",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/metrics/labels.py",
        ("tests/metrics/test_metrics.py",),
        (
            ("ratio_or_nan(2.0 * overlap, sizes)", "ratio_or_nan(overlap, sizes)"),
            (
                "foreground, present = values[1:], ops.logical_not(ops.isnan(values[1:]))",
                "foreground, present = values, ops.logical_not(ops.isnan(values))",
            ),
            ("ops.sum(predicted * weight, axis=axes)", "ops.sum(predicted, axis=axes)"),
        ),
    ),
    Mutated(
        "sfgkeras/metrics/base.py",
        ("tests/metrics/test_metrics.py",),
        (("ops.sum(values * weight)", "ops.sum(values)"),),
    ),
    Mutated(
        "sfgkeras/data/samplers.py",
        ("tests/data/test_samplers.py",),
        (
            ("free = [n - w + 1 for", "free = [n - w for"),
            ('rng.integers(label.cumulative[-1]), side="right"', 'rng.integers(label.cumulative[-1]), side="left"'),
            (
                'plane = int(np.searchsorted(label.cumulative, rng.integers(label.cumulative[-1]), side="right"))',
                "plane = int(rng.choice(np.flatnonzero(np.diff(label.cumulative, prepend=0))))",
            ),
            ("label = self.labels[int(rng.integers(len(self.labels)))]", "label = self.labels[0]"),
            ("third = (self.box[2].start or 0) + _draw_index", "third = _draw_index"),
            ("if value in allowed_counts", "if True"),
            ("result[list(order)] = voxel", "result[:] = voxel"),
            ("centre - self.half_window, 0,", "centre - self.half_window - 1, 0,"),
        ),
    ),
    Mutated(
        "sfgkeras/data/augmentation.py",
        ("tests/data/test_augmentation.py", "tests/data/test_windows.py"),
        (
            ("math.sqrt(max(factor**-2 - 1.0, 0.0)) / FWHM_PER_SIGMA", "math.sqrt(max(factor**-2 - 1.0, 0.0))"),
            ("return about_z @ about_y @ about_x", "return about_x @ about_y @ about_z"),
            (
                "np.sum(np.indices(shape), axis=0) <= self.bias_field_order",
                "np.max(np.indices(shape), axis=0) <= self.bias_field_order",
            ),
            ("rng.random() >= self.deformation.proportion", "rng.random() < self.deformation.proportion"),
            (
                "rng.uniform(*self.scaling_percentage, count) / 100.0",
                "rng.uniform(*self.scaling_percentage, count) / 50.0",
            ),
            ("[-factor if flip else factor for", "[factor for"),
            ("return rotation.T * millimetres", "return rotation * millimetres"),
        ),
    ),
    Mutated(
        "sfgkeras/data/deformation.py",
        ("tests/data/test_augmentation.py", "tests/data/test_windows.py"),
        (
            (
                "position = np.arange(first, first + count, dtype=np.float64)",
                "position = np.arange(count, dtype=np.float64)",
            ),
            ("(np.arange(first, first + count) + 0.5)", "(np.arange(count) + 0.5)"),
            ("2.0 / 3.0 - distance**2 * (1.0 - 0.5 * distance)", "2.0 / 3.0 - distance**2"),
        ),
    ),
    Mutated(
        "sfgkeras/data/interpolation.py",
        ("tests/data/test_interpolation.py", "tests/data/test_windows.py"),
        (
            (
                "region = _smoothed(volume, self._region, smoothing)",
                'region = volume[self._region].astype(np.float32, order="C")\n            '
                'region = scipy.ndimage.gaussian_filter(region, (*smoothing, 0), mode="nearest", truncate=3)',
            ),
            ("out *= self.inside[..., None]", "pass"),
            ("math.ceil(highest) + MARGIN", "math.floor(highest) - MARGIN"),
            ("np.array(((d, c, column), (b, a, row)))", "np.array(((a, b, column), (c, d, row)))"),
            ("            out *= self.inside\n", "            pass\n"),
        ),
    ),
    Mutated(
        "sfgkeras/data/aggregators.py",
        ("tests/data/test_aggregators.py",),
        (
            ("size - 2 * cut), extent - size])", "size - cut), extent - size])"),
            ("return total / weight[..., None]", "return total"),
            ("low = 0 if first == 0 else cut", "low = cut"),
            ("high = size if first + size == extent else size - cut", "high = size - cut"),
            ("distance = np.arange(size) - (size - 1) / 2", "distance = np.arange(size) - size / 2"),
            ("self._weight[tuple(inside)] += weight", "self._weight[tuple(inside)] = weight"),
            ("array[self._along(slice(thickness - count, None))] = 0", "pass"),
        ),
    ),
    Mutated(
        "preprocessing/fitted.py",
        ("tests/preprocessing/test_fitted_steps.py",),
        (
            ('if self.settings in ("", now)', "if True"),
            ("fitted.preparation != preparation", "False"),
            ("then and then.keys() != now.keys()", "False"),
        ),
    ),
    Mutated(
        "preprocessing/folder/job.py",
        ("tests/preprocessing/test_fitted_steps.py",),
        (
            ("return volume, Pipeline(wanted.steps[place:])", "return None, wanted"),
            (
                "_digest([__version__, self.pipeline.digest(), fitted])",
                "_digest([__version__, self.pipeline.digest()])",
            ),
        ),
    ),
    Mutated(
        "preprocessing/histogram.py",
        ("tests/preprocessing/test_histogram.py",),
        (
            ("levels[0], levels[-1] = of_chosen[0], of_chosen[-1]", "pass"),
            ("np.bincount(group, weights=of_chosen) / np.bincount(group)", "np.bincount(group, weights=of_chosen)"),
            ("[levels[-1] + steps[1]]", "[levels[-1] + 1000 * steps[1]]"),
            ("positions.mean(axis=0)", "np.median(positions, axis=0)"),
            ("np.maximum(mapped, np.float32(levels[0]), out=mapped, where=~foreground_mask)", "pass"),
            ("positions = (rows - rows[:, :1]) / (rows[:, -1:] - rows[:, :1])", "positions = rows / rows[:, -1:]"),
            ('"median": (50.0,)', '"median": (40.0,)'),
            ("if count == 1 else", "if count == 2 else"),
        ),
    ),
    Mutated(
        "preprocessing/percentiles.py",
        ("tests/preprocessing/test_percentiles.py",),
        (
            ("/ 100 * (values.size - 1)", "/ 100 * values.size"),
            ("return low + (ranks - below) * (high - low)", "return low"),
            (
                "np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))",
                "np.where(bits >> 31, bits, bits | np.uint32(1 << 31))",
            ),
            (
                'np.searchsorted(cumulative, ranks, side="right")\n\n',
                'np.searchsorted(cumulative, ranks, side="left")\n\n',
            ),
        ),
    ),
    Mutated(
        "preprocessing/foreground.py",
        ("tests/preprocessing/test_foreground.py",),
        (
            ("keep = sizes >= min(smallest_share * sizes.sum(), sizes.max())", "keep = sizes >= sizes.max()"),
            ("keep = sizes >= min(smallest_share * sizes.sum(), sizes.max())", "keep = sizes > 0"),
            (
                "keep = sizes >= min(smallest_share * sizes.sum(), sizes.max())",
                "keep = sizes >= smallest_share * sizes.sum()",
            ),
            ("return fill_holes(drop_specks(mask))", "return drop_specks(mask)"),
            ("return fill_holes(drop_specks(mask))", "return fill_holes(mask)"),
            ("        if length > 1:\n", "        if True:\n"),
        ),
    ),
    Mutated(
        "preprocessing/resampling.py",
        ("tests/preprocessing/test_resampling.py",),
        (
            ("np.abs(to_old[:3, :3]).max(axis=1)", "np.abs(to_old[:3, :3]).max(axis=0)"),
            ("sigma = point_spread_sigma(1.0, float(step))", "sigma = 0.5 * point_spread_sigma(1.0, float(step))"),
            ("if antialias and order > 0:", "if False:"),
            ("np.where(is_short, (lengths - 1) / 2, (ratio - 1) / 2)", "(ratio - 1) / 2"),
            ("smoothing = point_spread_sigma(1.0, step) if antialias else 0.0", "smoothing = 0.0"),
            ("(positions[axis] < -0.5 - 1e-6) | ", ""),
            ("wins = share > best", "wins = share >= best"),
            ("np.floor(positions + 0.5 + 1e-9)", "np.floor(positions)"),
            ("np.moveaxis(result, axis, 0)[is_outside] = fill", "pass"),
        ),
    ),
    Mutated(
        "preprocessing/spline_weights.py",
        ("tests/preprocessing/test_spline_weights.py", "tests/preprocessing/test_resampling.py"),
        (
            ("/ (8 * np.log(2))", "/ (4 * np.log(2))"),
            ("kernel /= kernel.sum()", "pass"),
            ("np.where(folded < length, folded, period - folded)", "np.clip(index, 0, length - 1)"),
            ("inner = 0.75 - distance**2", "inner = 0.7 - distance**2"),
            ("inner = 2 / 3 - distance**2 + 0.5 * distance**3", "inner = 2 / 3 - distance**2"),
        ),
    ),
    Mutated(
        "preprocessing/whitening.py",
        ("tests/preprocessing/test_whitening.py",),
        (
            ("(part - np.float64(mean)) / deviation", "part / deviation"),
            ("foreground = image[foreground_mask]", "foreground = image"),
            (
                'foreground.ravel(order="K"), mean) / foreground.size',
                'foreground.ravel(order="K"), mean) / (foreground.size - 1)',
            ),
        ),
    ),
    Mutated(
        "preprocessing/ct.py",
        ("tests/preprocessing/test_ct.py",),
        (
            ("values = np.clip(values, *clip)", "pass"),
            ("return (values + HU_PER_UNIT) / HU_PER_UNIT", "return values / HU_PER_UNIT"),
            ("* HU_PER_UNIT - HU_PER_UNIT)", "* HU_PER_UNIT)"),
            ("count >= LEAST_PADDING * hu.size and ", ""),
        ),
    ),
    Mutated(
        "preprocessing/cropping.py",
        ("tests/preprocessing/test_geometry_steps.py",),
        (
            ("int(occupied[-1]) + width + 1", "int(occupied[-1]) + width"),
            ("mask = mask | (label_map != 0)", "pass"),
            ("new_affine[:3, 3] += new_affine[:3, :3] @ [side.start for side in box]", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/analysis/uncertainty.py",
        ("tests/analysis/test_uncertainty.py",),
        (
            ("np.float32(max(self.count - 1, 1))", "np.float32(max(self.count, 1))"),
            ("distance * (outputs - self.mean)", "distance * distance"),
            ("total - self._entropies / np.float32(self.count)", "total - self._entropies"),
        ),
    ),
    Mutated(
        "sfgkeras/analysis/measures.py",
        ("tests/analysis/test_measures.py",),
        (
            ("float(20 * np.log10(", "float(10 * np.log10("),
            (
                "truth.astype(np.int64).ravel() * num_classes + prediction.astype(np.int64).ravel()",
                "prediction.astype(np.int64).ravel() * num_classes + truth.astype(np.int64).ravel()",
            ),
            (
                "return 1.0 - mean_squared_error(residuals) / residuals.truth_variance",
                "return mean_squared_error(residuals) / residuals.truth_variance",
            ),
            ("present = found[~np.isnan(found)]", "present = np.nan_to_num(found)"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/recalibration.py",
        ("tests/networks/test_recalibration.py",),
        (
            ("distance**2 * (self.count * count / total)", "distance**2 * 0"),
            ("self.mean = self.mean + distance * (count / total)", "self.mean = self.mean + distance / 2"),
            ("network(images, training=False)", "network(images, training=True)"),
        ),
    ),
)
