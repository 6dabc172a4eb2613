"""Mutations of a run over a folder, its steps' values, and of tables, verbs and runs; see `mutations_table.py`."""

from mutations_table import Mutated


def _folder(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/preprocessing/folder/test_{name}.py" for name in names)


PREPARATION: tuple[Mutated, ...] = (
    Mutated(
        "preprocessing/folder/manifest.py",
        _folder("manifest"),
        (
            ("if self._is_torn:", "if False:"),
            ("if len(row) == len(COLUMNS):", "if True:"),
            ("for name in sorted(self.records)", "for name in self.records"),
            ("with_header=is_new", "with_header=True"),
        ),
    ),
    Mutated(
        "preprocessing/folder/books.py",
        _folder("books"),
        (
            ("ended = len(self.done) + len(self.skipped) + len(self.failed)", "ended = len(self.done)"),
            ("self.progress(len(self.failed), self._total", "self.progress(0, self._total"),
            ("if job.subject_id not in found.failed\n", "if True\n"),
            ("if not overwrite:\n", "if False:\n"),
            ("if seen is None]", "if True]"),
        ),
    ),
    Mutated(
        "preprocessing/folder/fitting.py",
        _folder("fitting"),
        (
            ("if failed and complete:", "if failed:"),
            ("if failed and complete:", "if False:"),
            ("if job.subject_id in set(training_subjects)]", "]"),
            ("not is_named or training_subjects is not None", "True"),
            ("if record is None or record.status != FAILED:", "if record is None:"),
            ('record.input_hash in ("", hash_inputs(job))', 'record.input_hash in ("",)'),
            ('record.input_hash in ("", hash_inputs(job))', "record.input_hash == hash_inputs(job)"),
        ),
    ),
    Mutated(
        "preprocessing/folder/inputs.py",
        _folder("inputs"),
        (
            ('folders[:] = sorted(name for name in folders if not name.startswith("."))', "folders.sort()"),
            ("or is_output(here / name)]", "]"),
            ("if is_output(folder):", "if False:"),
            ('if path.name.startswith("."):', "if False:"),
            (
                "array, label_affine = reorient(found.array, found.affine, axis_codes(affine))",
                "array, label_affine = found.array, found.affine",
            ),
            ('image_suffix(source) == ".nii" else', 'image_suffix(source) != ".nii.gz" else'),
        ),
    ),
    Mutated(
        "preprocessing/folder/job.py",
        _folder("job"),
        (
            ('hashes["loader"] = job.loader', "pass"),
            ('not (step.is_fitted and each.name == "ref_file")', "True"),
            ("recorded.output_hash == _digest(hashes)", "True"),
            ("    if not np.all(np.isfinite(after.array)):", "    if False:"),
            ("except MemoryError:", "except ZeroDivisionError:"),
            ('message=" ".join(message.split())', "message=message"),
            ("_half_way_file(job, input_hash, step.name).unlink(missing_ok=True)", "pass"),
            ("sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)", "pass"),
            ("if job.picture:", "if True:"),
        ),
    ),
    Mutated(
        "preprocessing/folder/outputs.py",
        _folder("outputs"),
        (
            ("self._claims.is_file() or manifest.path.is_file()", "False"),
            ("is_by_the_way or name in self._names", "is_by_the_way"),
            ("if not is_known and path.exists():", "if not is_known:"),
            ("or not (job.folder / job.output).exists()", ""),
            ("self._is_own = True", "pass"),
        ),
    ),
    Mutated(
        "preprocessing/folder/plan.py",
        _folder("outputs"),
        (
            ("if step.settings.ref_file is None]", "]"),
            ("plan.manifest.records.clear()", "pass"),
            ("replace(job, recorded=None)", "job"),
            ("inside(self.output, name)", "pass"),
            ('self.reads.refuse(owned.planned(jobs), "choose another output folder")', "pass"),
        ),
    ),
    Mutated(
        "preprocessing/folder/lock.py",
        _folder("outputs"),
        (
            ("(0 if wait else fcntl.LOCK_NB)", "0"),
            ("stream.truncate(0)", "pass"),
        ),
    ),
    Mutated(
        "preprocessing/fitted.py",
        ("tests/preprocessing/test_fitted.py",),
        (
            ('if key not in ("ref_file", "modality")', "if True"),
            ("(is_only and list(found) == [DEFAULT_MODALITY])", "(list(found) == [DEFAULT_MODALITY])"),
            ("modality is None and len(found) > 1", "len(found) > 1"),
            ('return name.rpartition("@")[2]', "return name"),
            ("names[:3]", "names[:2]"),
            ('("without", added), ("with", missing)', '("with", added), ("without", missing)'),
        ),
    ),
    Mutated(
        "preprocessing/pipeline.py",
        ("tests/preprocessing/test_table.py",),
        (
            ('frozenset({"label_method", "save_field", "save_transform"})', "frozenset()"),
            ("if step.is_fitted and step.settings.modality is None", "if step.is_fitted"),
            ("replace(context, fitted=known)", "context"),
            ('each.step.changes == "values"', 'each.step.changes != "grid"'),
            ("check_fitted(path, fitted,", "print(path, fitted,"),
            ('return f"{value:.10g}" if isinstance(value, float)', 'return f"{value:.1f}" if isinstance(value, float)'),
        ),
    ),
    Mutated(
        "preprocessing/volume.py",
        ("tests/preprocessing/test_volume.py",),
        (
            ("foreground=None)", ")"),
            ("if len(found) != 1:", "if not found:"),
            ("(*self.notes, *self.concerns)", "self.notes"),
            ("axis=0))", "axis=1))"),
        ),
    ),
    Mutated(
        "preprocessing/clipping.py",
        ("tests/preprocessing/test_clipping.py",),
        (
            ("if (self.limits is None) == (self.percentiles is None):", "if False:"),
            ("0 <= low < high <= 100", "low < high"),
            ("if not np.all(np.isfinite(image)):", "if False:"),
            ("if limits is None and percentiles is None:", "if False:"),
        ),
    ),
    Mutated(
        "preprocessing/conversion.py",
        ("tests/preprocessing/test_clipping.py",),
        (
            ("np.abs(image).max() > 2**53", "False"),
            ('dtype == "auto" and not is_whole', "not is_whole"),
            ("np.rint(image).astype", "np.floor(image).astype"),
        ),
    ),
    Mutated(
        "preprocessing/registration.py",
        ("tests/preprocessing/test_registration.py",),
        (
            ("str(seed + 1)", "str(seed)"),
            ("if information[1] < information[0]:", "if False:"),
            ("if settings.save_transform:", "if True:"),
            ("np.abs(moving).max(initial=0) > 2**24", "False"),
            ("defaultvalue=fill", "defaultvalue=0"),
        ),
    ),
    Mutated(
        "sfgkeras/tables/measures.py",
        ("tests/tables/test_measures_table.py",),
        (
            ("return surfaces.within_second_factor", "return surfaces.within_third_factor"),
            ("return surfaces.within_eleven", "return surfaces.within_twenty_two"),
            (
                "import false_positives\n\n    return false_positives",
                "import false_negatives\n\n    return false_negatives",
            ),
            (
                '"mean angle between the normals", higher_is_better=False',
                '"mean angle between the normals", higher_is_better=True',
            ),
            (
                '"mean squared error", higher_is_better=False, unit="target^2"',
                '"mean squared error", higher_is_better=False, unit="target"',
            ),
            (
                '"peak signal-to-noise ratio", higher_is_better=True',
                '"peak signal-to-noise ratio", higher_is_better=False',
            ),
        ),
    ),
    Mutated(
        "sfgkeras/tables/losses.py",
        ("tests/tables/test_lookups.py",),
        (
            ('likelihood=getattr(own, "likelihood", usual)', "likelihood=usual"),
            ('needs_map=bool(getattr(own, "needs_map", False))', "needs_map=False"),
            ('if task_type != "landmarks":', "if False:"),
            ("return entry is not None and entry.one_logit", "return entry is not None"),
            ("if not self.false_positives + self.false_negatives > 0:", "if False:"),
        ),
    ),
    Mutated(
        "sfgkeras/tables/tasks.py",
        ("tests/tables/test_lookups.py",),
        (
            ('entry.measured_as if entry is not None else ""', '""'),
            ("self.dimensions or 3", "self.dimensions or 2"),
            ("if name in found:\n", "if False:\n"),
            ("len(set(landmarks)) != 2 or ", ""),
        ),
    ),
    Mutated(
        "sfgkeras/metrics/surfaces.py",
        ("tests/tables/test_measures_table.py", "tests/metrics/test_surface_metrics.py"),
        (
            ("ops.abs(ops.expm1(residual))", "ops.abs(residual)"),
            ("return ops.sqrt(self.mean())", "return self.mean()"),
            ("< math.log(NEAR_FACTOR)", "< NEAR_FACTOR"),
            ("ops.cast(angle < STEEPEST", "ops.cast(angle > STEEPEST"),
        ),
    ),
    Mutated(
        "sfgkeras/cli/process.py",
        ("tests/cli/test_process.py",),
        (
            ("code = code or EXIT_FAILURE", "pass"),
            ("return EXIT_USER if is_users else EXIT_FAILURE", "return EXIT_FAILURE"),
            ("end.code if isinstance(end.code, int) else EXIT_FAILURE", "end.code"),
            ('debug = "--debug" in arguments', "debug = False"),
        ),
    ),
    Mutated(
        "sfgkeras/cli/runs.py",
        ("tests/cli/test_wiring.py",),
        (
            ("run.train(config, reporter, restart=restart)", "run.train(config, reporter, restart=False)"),
            ("[*inputs, *more]", "[*inputs]"),
            ("activations, wanted, overwrite, beside", "activations, [], overwrite, beside"),
            ("run.evaluate(config, reporter, dataset=dataset)", "run.evaluate(config, reporter, dataset=None)"),
            ("mechanisms, seeds, output, overrides, parts", "mechanisms, 3, output, overrides, parts"),
        ),
    ),
    Mutated(
        "sfgkeras/cli/files.py",
        ("tests/cli/test_wiring.py",),
        (
            ("not headers_only, before_network", "headers_only, before_network"),
            ("if min(numbers) < 0:", "if False:"),
            ("sys.exit(result.exit_code)", "sys.exit(0)"),
            ("parse_names(names), overwrite", "parse_names(names), False"),
        ),
    ),
    Mutated(
        "sfgkeras/runs/run.py",
        ("tests/runs/test_run.py",),
        (
            ("given = {**self._settings, **settings}", "given = {**settings}"),
            ('{"SYSTEM.model_dir": path, **given}', "given"),
            ('joined.fillna(dict.fromkeys(names, ""))', "joined"),
            ("for name, rows in found.items():", "for name, rows in ():"),
            ('update={"save_seg_dir": folder}', "update={}"),
        ),
    ),
    Mutated(
        "sfgkeras/runs/predictions.py",
        ("tests/runs/test_run.py",),
        (
            ("if mark and subject and (", "if mark and ("),
            ('rest.removeprefix("_")', "rest"),
            ("if len(there) > 5 else", "if False else"),
        ),
    ),
    Mutated(
        "sfgkeras/runs/comparison.py",
        ("tests/runs/test_run.py",),
        (
            ("if not over or over in by:", "if True:"),
            ("statistics(scores, [*by, over])", "statistics(scores, by)"),
        ),
    ),
)
