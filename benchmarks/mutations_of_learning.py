"""Mutations of losses, networks and their training; see `mutations_table.py`."""

from mutations_table import Mutated

LOSSES: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/losses/surfaces.py",
        ("tests/losses/test_surface_losses.py",),
        (
            ("- invariance * shift * shift", "- invariance * shift"),
            ("for axis in axes if gradients else ():", "for axis in axes:"),
            ("for axis in axes if gradients else ():", "for axis in axes[:1] if gradients else ():"),
            (
                "ops.minimum(ops.take(valid, second, axis=axis), ops.take(valid, first, axis=axis))",
                "ops.take(valid, second, axis=axis)",
            ),
            ("(cosine_distance(y_true, y_pred, valid) - 1.0) * there", "cosine_distance(y_true, y_pred, valid) - 1.0"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/motion.py",
        ("tests/losses/test_motion_loss.py",),
        (
            ("+ smoothness * roughness(flow)", "+ 0.1 * roughness(flow)"),
            ("warp(first, flow) - others", "warp(others, flow) - first"),
            (" - ROUGHNESS**0.5", ""),
            ("/ count\n", "\n"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/agreement.py",
        ("tests/losses/test_kappa_loss.py",),
        (
            ("voxels - ops.divide_no_nan(", "voxels + ops.divide_no_nan("),
            ("in_truth = ops.sum(weights[..., None] * one_hot", "in_truth = ops.sum(one_hot"),
            ("> 1, SMOOTHING, 1.0)", "> 0, SMOOTHING, 1.0)"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/levels.py",
        ("tests/losses/test_levels.py",),
        (
            ("(side - 1) // 2", "side // 2"),
            ("ops.where((shares > 0)[..., None] if fits else shares > 0, targets, 0.0)", "targets"),
            ("ops.minimum(places, shape[axis] - 1)", "ops.minimum(places, shape[axis] - 2)"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/landmarks.py",
        ("tests/losses/test_landmark_losses.py",),
        (
            ("_of_visible(squares / 2,", "_of_visible(squares,"),
            ("squares / energy(sigma, rank)", "squares / energy(2.0, rank)"),
            ("maps + weight * coordinate_constraint(", "maps + 10.0 * coordinate_constraint("),
            ("ops.where(visible[..., None] > 0.0, truth, 0.0)", "truth"),
            ("return means if factor is None else means * factor", "return means"),
            ("ops.where(is_shown[..., None], expected - truth, 0.0)", "expected - truth"),
            ("ops.softplus(logits) - logits * wanted", "ops.softplus(-logits) - logits * wanted"),
        ),
    ),
    Mutated(
        "sfgkeras/landmarks.py",
        ("tests/losses/test_landmark_losses.py",),
        (
            ("for axis in reversed(range(rank)):", "for axis in range(rank):"),
            (
                'centres = ops.cast(ops.arange(size[axis]), "float32") + 0.5',
                'centres = ops.cast(ops.arange(size[axis]), "float32")',
            ),
            ("(math.sqrt(math.pi) * sigma) ** rank", "(math.sqrt(2 * math.pi) * sigma) ** rank"),
            ("ops.softmax(sharpness * ops.reshape", "ops.softmax(20.0 * ops.reshape"),
        ),
    ),
    Mutated(
        "sfgkeras/losses/overlap.py",
        ("tests/losses/test_overlap_losses.py",),
        (
            ("missed = false_negatives * ", "missed = false_positives * "),
            ("1.0 / ops.square(ops.where(there, in_truth, 1.0))", "1.0 / ops.where(there, in_truth, 1.0)"),
            ("(2.0 * right + wrong + TINY)", "(right + wrong + TINY)"),
            ("weights * to_label[..., :1] * (1.0 - disagreement)", "weights * (1.0 - disagreement)"),
            ("(1.0 - sensitivity_ratio) * wrong", "sensitivity_ratio * wrong"),
            (
                "_per_class(weights * ops.square(probability)) + in_truth",
                "_per_class(weights * probability) + in_truth",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/losses/binary.py",
        ("tests/losses/test_binary_loss.py",),
        (
            ("positive_weight * truth * ops.softplus(-logit)", "truth * ops.softplus(-logit)"),
            ("ops.where(ops.logical_and(truth >= 0.0, truth <= 1.0), values, 0.0)", "values"),
        ),
    ),
    Mutated(
        "sfgkeras/boxes.py",
        ("tests/test_boxes.py",),
        (
            ("return ops.minimum(first, second), ops.maximum(first, second)", "return first, second"),
            ("- ops.where(empty, 0.0, uncovered)", "+ ops.where(empty, 0.0, uncovered)"),
            (
                "(found.hull - found.union) / ops.where(empty, 1.0, found.hull)",
                "(found.hull - found.union) / ops.where(empty, 1.0, found.union)",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/layers/adversary.py",
        ("tests/layers/test_adversary.py",),
        (
            ("ops.stop_gradient((1.0 + factor) * inputs) - factor * inputs", "inputs"),
            (
                "ops.stop_gradient((1.0 + factor) * inputs) - factor * inputs",
                "ops.stop_gradient(2.0 * inputs) - inputs",
            ),
            ("ops.softplus(of_prediction)", "ops.softplus(-of_prediction)"),
        ),
    ),
)

NETWORKS: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/networks/deep_supervision.py",
        ("tests/networks/test_deep_supervision.py",),
        (
            ("0.5**level for level in range(count + 1)", "1.0 for level in range(count + 1)"),
            ("0.5**level for level in range(count + 1)", "0.5**level for level in reversed(range(count + 1))"),
            (
                "sorted(deep_outputs(network, task, outputs).items())",
                "sorted(deep_outputs(network, task, outputs).items(), reverse=True)",
            ),
            ('found.append(int(count) if kind == "map" else 0)', "found.append(int(count))"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/building_heads.py",
        (
            "tests/applications/training/test_options.py",
            "tests/networks/test_heads.py",
            "tests/applications/tasks/test_landmarks.py",
        ),
        (
            ("_scaled(seeds[0][0], head.start)", "seeds[0][0]"),
            ("_moved(seeds[0][1], head.offset)", "seeds[0][1]"),
            ('"dropout": dropout,', '"dropout": 0.0,'),
            ('"kernel_regularizer": settings.kernel_regularizer,', '"kernel_regularizer": None,'),
        ),
    ),
    Mutated(
        "sfgkeras/networks/heads.py",
        ("tests/networks/test_heads.py", "tests/networks/test_output_activation.py"),
        (
            ("ops.stop_gradient(cut) + (outputs - ops.stop_gradient(outputs)) if training else cut", "cut"),
            ("if layer is not self.projection:", "if True:"),
            ("return ops.mean(features, axis=tuple(range(1,", "return ops.max(features, axis=tuple(range(1,"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/unet.py",
        ("tests/networks/test_unet.py",),
        (
            ('return name == place or name.startswith(f"{place}_")', "return name == place"),
            ('return name == place or name.startswith(f"{place}_")', "return name.startswith(place)"),
            ('{"skip": f"encoder_{level}"} if shape.skips else {}', '{"skip": f"encoder_{level}"}'),
            ("upsamples=True, normalisation=shape.normalisation)", "upsamples=True)"),
            (
                "stages[-1] = dataclasses.replace(stages[-1], **(last",
                "stages[0] = dataclasses.replace(stages[0], **(last",
            ),
            ("2 ** (level - 1)", "2 ** level"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/hyperface.py",
        ("tests/networks/test_shape_settings.py", "tests/networks/test_hyperface.py"),
        (
            ("skip=shape.fused", 'skip=("conv_1", "conv_3")'),
            ("Stage(256, 5, pools=True", "Stage(256, 3, pools=True"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/ynet.py",
        ("tests/networks/test_shape_settings.py",),
        (
            ("shape.depth, pools=True", "5, pools=True"),
            ("CHANNELS, (shape.block,)", 'CHANNELS, ("residual",)'),
        ),
    ),
    Mutated(
        "sfgkeras/networks/settling.py",
        ("tests/networks/test_settling.py",),
        (
            ('getattr(network.sharing, "group_multiple", 1)', "1"),
            ("    _copy_scalars(old, new)\n    slots", "    slots"),
            ("            variable.assign(value)\n", "            pass\n"),
            ("            new.assign(ops.convert_to_numpy(old))\n", "            pass\n"),
            ("grouped.adversaries[task].set_weights(adversary.get_weights())", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/group_multiples.py",
        ("tests/test_group_multiples.py",),
        (
            ("_PREFERENCE * mode", "0.0 * mode"),
            ("if has_filters[task] or has_filters[-1]", "if True"),
            ("multiple_of * whole[0] + rest * whole[1]", "multiple_of * whole[0] + whole[1]"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/expected_multiplies.py",
        ("tests/networks/test_expected_multiplies.py",),
        (
            (" + ops.sum(share * ops.maximum(1.0 - share, 0.0))", ""),
            ("return expected / shared", "return expected"),
            ("(self._held(tap, reader) + missing)", "self._held(tap, reader)"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/class_maps.py",
        ("tests/networks/test_class_maps.py",),
        (
            ("[-weights, weights]", "[weights, -weights]"),
            ("(before + 2.0 * twice + behind) / 4.0", "twice"),
            ('maps if method == "cam" else ops.relu(maps)', "maps"),
            ("gradient * opened[:, None]", "gradient"),
            ('return gradient / ops.cast(ops.shape(_flat(features))[1], "float32")', "return gradient"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/hardening.py",
        ("tests/networks/test_hardening.py",),
        (
            ("network.trunk.most_probable_groups(multiple_of)", "network.trunk.most_probable_groups(1)"),
            ("target.bias.assign(ops.convert_to_numpy(source.bias))", "pass"),
            ("new.assign(values if channels is None else values[channels])", "new.assign(values[: new.shape[0]])"),
            ("new.limits.assign(ops.convert_to_numpy(old.limits))", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/networks/folding.py",
        ("tests/networks/test_folding.py",),
        (
            ("np.sqrt(variance + normalization.epsilon)", "np.sqrt(variance)"),
            ("shift if bias is None else shift + bias * factor", "shift if bias is None else shift + bias"),
            ("or not (factor > 0).all()", ""),
        ),
    ),
    Mutated(
        "sfgkeras/networks/thinning.py",
        ("tests/networks/test_thinning.py",),
        (
            ("new.bias.assign(ops.convert_to_numpy(old.bias)[kept.channels])", "pass"),
            ("new.kernel.assign(kernel[..., kept.channels])", "new.kernel.assign(kernel[..., : new.kernel.shape[-1]])"),
            ("new.limits.assign(ops.convert_to_numpy(old.limits))", "pass"),
        ),
    ),
)

TRAINING: tuple[Mutated, ...] = (
    Mutated(
        "applications/training/averages.py",
        ("tests/applications/training/test_averages.py",),
        (
            ("(1.0 - decay) * (weight - average)", "decay * (weight - average)"),
            (
                "tf.minimum(tf.constant(self._decay, tf.float32), count / (count + SOON))",
                "tf.constant(self._decay, tf.float32)",
            ),
            ("            self._assign(weights)\n", "            pass\n"),
            ("(one.trainable or id(one) in statistics)", "one.trainable"),
        ),
    ),
    Mutated(
        "sfgkeras/tables/schedules.py",
        ("tests/applications/training/test_optimizers.py",),
        (
            ("(1.0 - passed) ** power", "(1.0 - passed) ** 0.9"),
            ("end + (1.0 - end) * 0.5 * (1.0", "0.5 * (1.0"),
            ("(step + 1) / warm_up", "step / warm_up"),
            ("(step - warm_up) / max(1, steps - warm_up)", "step / max(1, steps)"),
            ("passed >= each", "passed > each"),
            ("factor ** sum(", "0.1 ** sum("),
        ),
    ),
    Mutated(
        "applications/training/timetable.py",
        ("tests/applications/training/test_timetable.py", "tests/applications/training/test_options.py"),
        (
            ("rate_factor(iteration - 1,", "rate_factor(iteration,"),
            ("self.save_every_n) or iteration == self.last", "self.save_every_n)"),
            ("or iteration in (1, self.last)", "or iteration == 1"),
            ("training.warm_up,", "0,"),
        ),
    ),
    Mutated(
        "applications/training/optimizers.py",
        ("tests/applications/training/test_optimizers.py", "tests/applications/training/test_training_step.py"),
        (
            ("tf.linalg.global_norm(whole) / self._main.scale_loss(tf.constant(1.0))", "tf.linalg.global_norm(whole)"),
            ("tf.minimum(1.0, self._clip_norm / norm)", "self._clip_norm / norm"),
            ("optimizer.learning_rate = rate * factor", "optimizer.learning_rate = self._rates[0] * factor"),
        ),
    ),
    Mutated(
        "applications/training/curriculum.py",
        ("tests/applications/training/test_curriculum.py",),
        (
            ("[-memory:]", ""),
            ("[abs(record.rewards[name][", "[(record.rewards[name]["),
            ("or rng.random() < random_share", ""),
            ("key=lambda name: record.picked.get(name, 0)", "key=lambda name: name"),
        ),
    ),
    Mutated(
        "applications/training/candidates.py",
        ("tests/applications/training/test_exploration.py",),
        (
            ("config.training.grouping_lr or WAY_OF_LOGITS / steps", "WAY_OF_LOGITS / steps"),
            ('        "ema_decay": None,\n', ""),
            ('        "patience": 0,\n', ""),
        ),
    ),
    Mutated(
        "applications/training/exploration.py",
        ("tests/applications/training/test_exploration.py",),
        (
            ("keep, auto.tolerance)", "keep, 0.01)"),
            ("survivors(len(found), len(ends) - rung + 1)", "survivors(len(found), len(ends))"),
            ("for losses in untrained) / len(untrained)", "for losses in untrained)"),
        ),
    ),
    Mutated(
        "applications/training/exploring.py",
        ("tests/applications/training/test_exploration.py",),
        (
            ('-(-config.training.settings_of("schedule")["windows"] // batch_size) * batch_size', "64"),
            ("carry_moments(network, dense, next(iter(trainer.optimizers)), next(iter(optimizers)))", "pass"),
            ("parts.held_out or parts.training", "parts.training"),
        ),
    ),
)

LEARNING: tuple[Mutated, ...] = LOSSES + NETWORKS + TRAINING
