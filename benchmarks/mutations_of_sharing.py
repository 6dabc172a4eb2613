"""Mutations of sharing mechanisms and balancing rules; see `mutations_table.py`."""

from mutations_table import Mutated

BALANCE_TESTS = (
    "tests/balancing/test_gradient_balancer.py",
    "tests/balancing/test_gradnorm.py",
    "tests/balancing/test_hull.py",
    "tests/balancing/test_gradients.py",
    "tests/balancing/test_losses_weighed.py",
    "tests/applications/training/test_balancing_rules.py",
)

MECHANISMS: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/layers/cross_stitch.py",
        ("tests/layers/test_cross_stitch.py",),
        (
            ("* alpha[task, other]", "* alpha[other, task]"),
            ("(1.0 - own) / max(1, count - 1)", "(1.0 - own) / count"),
            ("if own_weight is None or count == 1 else own_weight", "if own_weight is None else own_weight"),
            ("            regularizer=self.regularizer,\n            autocast", "            autocast"),
            ("np.repeat(initial[..., None], int(shape[-1]), axis=-1)", "initial[..., None]"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/cross_stitch_trunk.py",
        (
            "tests/sharing/test_trunks_by_hand.py",
            "tests/applications/training/test_options.py",
            "tests/networks/test_cross_stitch.py",
        ),
        (
            ("keras.regularizers.L2(sharing.decay) if sharing.decay else None", "None"),
            ("                sharing.per_channel,", "                False,"),
            ("                sharing.weight,", "                0.9,"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/subspace_stitch.py",
        ("tests/layers/test_subspace_stitch.py",),
        (
            ("ops.roll(copy, -shift * width, axis=-1)", "ops.roll(copy, shift * width, axis=-1)"),
            ("(subspace + shift) % subspaces", "(subspace - shift) % subspaces"),
            ("subspace_overlap(values, self.subspaces)", "subspace_overlap(values, 2)"),
            ("penalty + self.further(values)", "penalty"),
            ("subspace[:, None] < subspace)", "subspace[:, None] != subspace)"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/sluice_trunk.py",
        (
            "tests/sharing/test_trunks_by_hand.py",
            "tests/networks/test_sluice.py",
        ),
        (
            ("                sharing.own_weight,", "                0.9,"),
            ("LayerMixture(projections, self.sharing.own_weight", "LayerMixture(projections, 0.9"),
            ("range(settings.num_tasks) if sharing.beta else ()", "range(settings.num_tasks)"),
            ("if not weight or subspaces == 1:", "if True:"),
            ("mixture.weigh(place, features, weights[place])", "mixture.weigh(place, features, weights[0])"),
            (
                "for index in range(len(self.units)):\n            for task",
                "for index in range(1):\n            for task",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/layers/layer_mixture.py",
        ("tests/networks/test_sluice.py",),
        (
            (
                "initial_mixtures(len(self.projections) + 1, self.own_weight)[-1]",
                "initial_mixtures(len(self.projections) + 1, self.own_weight)[0]",
            ),
            ("ops.convert_to_tensor(projection.kernel) * weight", "ops.convert_to_tensor(projection.kernel)"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/kernel_coupling.py",
        ("tests/layers/test_kernel_coupling.py",),
        (
            ("return kernels.shape[0] * ops.sum(", "return ops.sum("),
            ("total / 2 if 2 * shift == num_tasks else total", "total"),
            ("if regularizer is not None and kernel.trainable:", "if regularizer is not None:"),
            ("in self._coupling.kernels if kernel.trainable)", "in self._coupling.kernels)"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/soft_sharing_trunk.py",
        (
            "tests/sharing/test_pieces.py",
            "tests/sharing/test_trunks_by_hand.py",
            "tests/networks/test_soft_sharing.py",
        ),
        (
            ("self.sharing.strength, self.sharing.distance)", 'self.sharing.strength, "squared")'),
            ("return not stage.per_task", "return True"),
            ("(squares[:, None] + squares) / 2", "np.sqrt(squares[:, None] * squares)"),
        ),
    ),
    Mutated(
        "sfgkeras/layers/tensor_normal.py",
        ("tests/sharing/test_deep_relationship.py",),
        (
            ("2 * size / length * ops.sum", "size / length * ops.sum"),
            ("ops.transpose(rows)) / rows.shape[1]", "ops.transpose(rows)) / rows.shape[0]"),
            ("epsilon * mean * ops.eye", "epsilon * ops.eye"),
            ("covariance_along(stack, found, axis, epsilon)", "covariance_along(stack, factors, axis, epsilon)"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/tensor_normal_prior.py",
        ("tests/sharing/test_deep_relationship.py",),
        (
            ("0.5 * self.strength * quadratic_form", "self.strength * quadratic_form"),
            ("factor @ factor.T", "factor.T @ factor"),
            ("deviation = np.sqrt(np.diag(covariance))", "deviation = np.diag(covariance)"),
            (
                "next_factors(ops.stop_gradient(stack_kernels(own)), known, self.epsilon)",
                "next_factors(ops.stop_gradient(stack_kernels(own)), known, 0.01)",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/deep_relationship_trunk.py",
        ("tests/sharing/test_deep_relationship.py",),
        (
            ("iteration % self.sharing.update_every == 0", "iteration % 100 == 0"),
            ("ops.logical_and(iteration > 0, iteration", "ops.logical_and(iteration >= 0, iteration"),
            ("layers[1:] if self.sharing.same_start else ()", "layers[1:]"),
            ('AXES if sharing.covariances == "all" else ("tasks",)', "AXES"),
            ("own = np.abs(correlations", "own = (correlations"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/affinity.py",
        ("tests/sharing/test_affinity.py",),
        (
            ("errors[:, task] > _middle(", "errors[:, task] < _middle("),
            ("(block.min(axis=1).mean() + block.min(axis=0).mean()) / 2", "block.min(axis=1).mean()"),
            ("affinity[np.ix_(group, group)].min(axis=1)", "affinity[np.ix_(group, group)].mean(axis=1)"),
            ("np.full((num_tasks, num_tasks), 0.5)", "np.full((num_tasks, num_tasks), 0.0)"),
            ("is_hard[i][both] == is_hard[j][both]", "is_hard[i] == is_hard[j]"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/adaptive_trunk.py",
        ("tests/networks/test_fully_adaptive.py",),
        (
            ("self.sharing.complexity_weight * 2.0**poolings", "self.sharing.complexity_weight"),
            ("convert_to_numpy(self.errors), self.sharing.threshold)", 'convert_to_numpy(self.errors), "median")'),
            ("None if id(weight) in waiting else self._regularizers", "self._regularizers"),
            ("self.next_place.assign((first + count) % capacity)", "self.next_place.assign(count % capacity)"),
            ("sharing.start_width or 1.0 / settings.num_tasks", "1.0 / settings.num_tasks"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/fully_adaptive.py",
        ("tests/networks/test_fully_adaptive.py",),
        (
            ("round(first + moment * (last - first))", "round(moment * last)"),
            ("np.arange(num_stages)[::-1]", "np.arange(num_stages)"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/joint_many_trunk.py",
        ("tests/sharing/test_joint_many.py",),
        (
            ("iteration // self.sharing.period % len(self.order)", "iteration % len(self.order)"),
            ("[self._used_together(self.order[:-1])]", "[self._used_together(self.order)]"),
            ("[self.sharing.strength * self.memory", "[self.memory"),
            ("ops.equal(iteration % self.sharing.period, 0)", "ops.equal(iteration, 0)"),
            ('("softmax" if outputs > 1 else "linear")', '"softmax"'),
            ("self.present, axis=0) * ops.convert_to_tensor(self.begun)", "self.present, axis=0)"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/joint_many.py",
        ("tests/sharing/test_joint_many.py",),
        (
            ("lowest = max(lowest, found[task])", "pass"),
            ("-(-number * len(stages) // taps.count(None)) - 1", "number * len(stages) // taps.count(None) - 1"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/branches.py",
        ("tests/sharing/test_branches.py", "tests/networks/test_tree.py"),
        (
            ("names[(len(names) + 1) // 2]", "names[len(names) // 2 - 1]"),
            ("len(branch) / num_tasks for branch", "1 / len(partition) for branch"),
            ("counts[counts.index(max(counts))] -= 1", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/used_in_common.py",
        ("tests/sharing/test_used_in_common.py",),
        (
            ("np.minimum(use[:, None], use[None])", "(use[:, None] * use[None])"),
            ("np.abs(np.asarray(weights, np.float64))", "np.asarray(weights, np.float64)"),
            ("served[index][[task, num_tasks], task] = True", "served[index][[task], task] = True"),
        ),
    ),
    Mutated(
        "sfgkeras/sharing/judging.py",
        ("tests/sharing/test_judging.py",),
        (
            ("score <= lowest + tolerance", "score <= lowest * (1 + tolerance)"),
            ("standing - (standing - 1) // rungs_left", "standing - standing // rungs_left"),
            ("sum(shares) / len(shares)", "max(shares)"),
            ("min(equal, key=lambda name: multiplies[name])", "min(equal, key=lambda name: scores[name])"),
            ("[task for task in untrained if scale[task] > 0]", "list(untrained)"),
            ("(scores[name], multiplies[name]))[:keep]", "(multiplies[name], scores[name]))[:keep]"),
        ),
    ),
)

BALANCING: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/balancing/gradnorm_balancer.py",
        BALANCE_TESTS,
        (
            ("ops.power(ops.maximum(relative, 0.0), alpha)", "relative"),
            ("weights - self._rate * ops.where", "weights + self._rate * ops.where"),
            ("moved = moved * ops.divide_no_nan(ops.sum(active), ops.sum(active * moved))", "pass"),
            ("ops.sign(weights * norms - goals)", "ops.sign(norms - goals)"),
            ("first == 0.0), losses, first)", "first >= 0.0), losses, first)"),
            ("ops.logical_and(self.is_active, usable), moved", "usable, moved"),
            ("slopes, 0.0), LEAST)", "slopes, 0.0), 0.0)"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/pcgrad_balancer.py",
        BALANCE_TESTS,
        (
            ("ops.minimum(along, 0.0)", "along"),
            (" * ops.sum(met * others, axis=1)", ""),
            ("ops.sum(mixtures * ops.sum(met[:", "ops.sum((1.0 - others) * ops.sum(met[:"),
            ("[int(word) >> 1, 0]", "[0, 0]"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/hull.py",
        BALANCE_TESTS,
        (
            ("slopes + factor * ops.divide_no_nan(pulls, norm)", "slopes + ops.divide_no_nan(pulls, norm)"),
            ("u = -slope * ops.sqrt", "u = slope * ops.sqrt"),
            ("ops.where(present, rise, _FAR)", "rise"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/cagrad_balancer.py",
        BALANCE_TESTS,
        (
            (
                "self._c * ops.sqrt(ops.maximum(ops.sum(with_mean * mean), 0.0))",
                "self._c * ops.maximum(ops.sum(with_mean * mean), 0.0)",
            ),
            ("return count * (mean", "return (mean"),
            ("ops.divide_no_nan(there, count)", "there / products.shape[0]"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/mgda_balancer.py",
        BALANCE_TESTS,
        (
            ('in ("l2", "loss+")', 'in ("l2",)'),
            ('ops.sum(ops.cast(present, "float32")) * weights', "weights"),
            ("ops.sqrt(ops.diagonal(products))", "ops.diagonal(products)"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/dynamic_average_balancer.py",
        BALANCE_TESTS,
        (
            (" / self._temperature", ""),
            ("ops.divide_no_nan(average, last)", "ops.divide_no_nan(last, average)"),
            ("self.sums.assign(ops.where(is_due, 0.0, sums))", "self.sums.assign(sums)"),
            ("steps >= self._interval", "steps > self._interval"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/random_weights_balancer.py",
        BALANCE_TESTS,
        (
            ('dtype="float32", seed=self.draws)', 'dtype="float32", seed=0)'),
            ("[int(word.generate_state(1)[0]) >> 1, 0]", "[0, 0]"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/weighing_balancer.py",
        BALANCE_TESTS,
        (
            ("return ops.sum(there) * ops.divide_no_nan", "return ops.divide_no_nan"),
            ("self.factors() * self.given,", "self.factors(),"),
            ("        if training:\n            return super()", "        if True:\n            return super()"),
            ("ops.exp(scores - largest), 0.0)", "ops.exp(scores - largest), 1.0)"),
            ('ops.max(ops.where(self.is_active, scores, float("-inf")))', "ops.max(scores)"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/gradient_balancer.py",
        BALANCE_TESTS,
        (
            ("products / (gradient.scale * gradient.scale)", "products / gradient.scale"),
            ("{task: given[task] * losses[task] for task in trained}", "{task: losses[task] for task in trained}"),
            (" * (1.0 - ops.eye(products.shape[0]))", ""),
            ("rest = gradient(ops.convert_to_tensor(extra))", "rest = [None] * len(combined)"),
            ("begin += size", "pass"),
        ),
    ),
    Mutated(
        "sfgkeras/balancing/uncertainty_balancer.py",
        ("tests/balancing/test_uncertainty.py",),
        (
            ("ops.exp(-2.0 *", "ops.exp(-1.0 *"),
            ("penalty if presence is None else penalty * presence[task]", "penalty"),
            (
                "self._given.get(task) or self.likelihoods.get(task)",
                "self.likelihoods.get(task) or self._given.get(task)",
            ),
        ),
    ),
)

SHARING: tuple[Mutated, ...] = MECHANISMS + BALANCING
