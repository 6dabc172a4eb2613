"""Mutations that leave an option of the INI file without effect; see `mutations_table.py`."""

from mutations_table import Mutated

OPTION_TESTS = ("tests/applications/training/test_options.py",)
EXPLORATION_TESTS = ("tests/applications/training/test_exploration.py",)

OPTIONS: tuple[Mutated, ...] = (
    Mutated(
        "applications/training/network.py",
        OPTION_TESTS,
        (
            ("deep_supervision=supervised_maps(config, tasks),", "deep_supervision=0,"),
            ("            task.settings.output_activation,\n", '            "linear",\n'),
            ("dropout=1.0 - settings.keep_prob,", "dropout=0.0,"),
            ("bias_initializer=settings.bias_initializer,", 'bias_initializer="zeros",'),
            ("kernel_initializer=settings.weight_initializer,", 'kernel_initializer="he_normal",'),
            ("rematerialise=config.system.rematerialise,", 'rematerialise="none",'),
            ("_regularizer(settings.reg_type, settings.decay)", '_regularizer("l2", settings.decay)'),
            ("_regularizer(settings.reg_type, settings.decay)", "_regularizer(settings.reg_type, 1e-6)"),
            ('**config.training.settings_of("balancing")', ""),
            ('            **settings.settings_of("name"),\n', ""),
            ("            task.settings.head_layers,\n", "            (),\n"),
            ("activation=settings.activation_function,", 'activation="prelu",'),
            ("batch_norm=settings.batch_norm,", 'batch_norm="recalibrated",'),
            ("name: settings.log_sigma for name, settings", "name: 0.0 for name, settings"),
        ),
    ),
    Mutated(
        "applications/training/build.py",
        (*OPTION_TESTS, "tests/applications/training/test_optimizers.py"),
        (
            ("return Optimizers(main, grouping, training.clip_norm)", "return Optimizers(main, grouping)"),
            ("training.lr, precision, more)\n    return", "training.lr, precision)\n    return"),
            ("config.training.validation_max_iter * batch_size", "batch_size"),
            ("queue_length = config.network.queue_length", "queue_length = 0"),
            ("config.training.grouping_every_n or max", "max"),
            ("rows, config.system.num_threads)", "rows, 1)"),
        ),
    ),
    Mutated(
        "applications/training/batches.py",
        (*OPTION_TESTS, "tests/applications/training/test_batches.py"),
        (
            ("bias_field_order=training.bf_order,", "bias_field_order=3,"),
            ("        antialiasing=training.antialiasing,", "        antialiasing=True,"),
            ("Augmentation(antialiasing=training.antialiasing)", "Augmentation()"),
            ("Deformation(training.num_ctrl_points, ", "Deformation(4, "),
            ("training.deformation_sigma, training.proportion_to_deform", "15.0, training.proportion_to_deform"),
            ("training.proportion_to_deform)", "0.5)"),
            ("isotropic_scaling=training.isotropic_scaling,", "isotropic_scaling=False,"),
            ("loss_border=config.multitask.loss_border,", "loss_border=0,"),
            ("windows_per_volume=config.training.sample_per_volume,", "windows_per_volume=1,"),
            ("flip_axes=training.random_flipping_axes,", ""),
        ),
    ),
    Mutated(
        "applications/training/timetable.py",
        ("tests/applications/training/test_timetable.py", *OPTION_TESTS),
        (
            (
                'build_schedule(training.lr_schedule, training.settings_of("lr_schedule"))',
                "build_schedule(training.lr_schedule)",
            ),
            ("        training.validation_every_epochs,\n", "        0,\n"),
            ("        training.tensorboard_every_n,\n", "        20,\n"),
        ),
    ),
    Mutated(
        "applications/training/exploration.py",
        EXPLORATION_TESTS,
        (
            ("auto.candidates, parts.reporter", '("learned", "shared"), parts.reporter'),
            ("auto.rung_ends(last_iteration(", "type(auto)().rung_ends(last_iteration("),
        ),
    ),
    Mutated(
        "sfgkeras/networks/base.py",
        ("tests/networks/test_expected_multiplies.py",),
        (('weight = getattr(self.sharing, "cost_weight", 0.0)', "weight = 0.0"),),
    ),
    Mutated(
        "applications/inference/results.py",
        ("tests/applications/inference/test_options.py",),
        (
            ('config.network.smaller_final_batch_mode == "pad",', "True,"),
            ("        inference.border,\n", "        (0, 0, 0),\n"),
            ("        inference.blending,\n", '        "gaussian",\n'),
            ("order, constant = config.inference.output_interp_order,", "order, constant = 1,"),
            ("task.outside_value if constant is None else constant,", "task.outside_value,"),
        ),
    ),
    Mutated(
        "applications/tasks/segmentation.py",
        ("tests/applications/tasks/test_tasks.py",),
        (
            (', **self.settings.settings_of("refinement")', ""),
            ('if evaluation.evaluation_units == "foreground":', "if False:"),
            ("            evaluation.surface_tolerance,\n", "            2.0,\n"),
        ),
    ),
    Mutated(
        "applications/tasks/task.py",
        OPTION_TESTS,
        ((', **self.settings.settings_of("loss")', ""),),
    ),
    Mutated(
        "applications/inference/class_maps.py",
        ("tests/applications/inference/test_class_maps.py",),
        (("if wanted is None else wanted", "if True else wanted"),),
    ),
)
