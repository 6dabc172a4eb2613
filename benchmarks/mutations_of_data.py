"""Mutations of points and boxes, folds, ensembles, intensities, plans, DICOM and files; see `mutations_table.py`."""

from mutations_table import Mutated

DICOM_TESTS = ("tests/applications/dicom/test_dicom_out.py",)

DATA: tuple[Mutated, ...] = (
    Mutated(
        "sfgkeras/data/points.py",
        ("tests/data/test_points.py",),
        (
            (
                "(np.asarray(points, np.float64) + 0.5) / np.asarray(size)",
                "np.asarray(points, np.float64) / np.asarray(size)",
            ),
            ("np.linalg.solve(onto, affine)", "np.linalg.solve(affine, onto)"),
            ("[points.min(axis=0), points.max(axis=0)]", "[points[0], points[-1]]"),
            ("@ between[:3, :3].T", "@ between[:3, :3]"),
            ("if np.all(low < high)", "if np.any(low < high)"),
            ("points * sizes[axes] - 0.5", "points * sizes[axes]"),
            ("(voxels[:, axes] + 0.5) * self.spacing[axes]", "(voxels[:, axes] + 0.5) * self.spacing[: len(axes)]"),
        ),
    ),
    Mutated(
        "applications/tasks/bounding_box.py",
        ("tests/applications/tasks/test_bounding_box.py",),
        (
            ("hull(to_file(box_corners(hull(corners))))", "np.ravel(to_file(corners))"),
            (
                "np.square(np.reshape(values, (2, -1))) @ np.square(lengths)",
                "np.square(np.reshape(values, (2, -1))) @ np.abs(lengths)",
            ),
            ("np.floor(high) + 1", "np.floor(high)"),
            ("[:, list(frame.axes[: len(size)])].ravel()", ".ravel()"),
            ("np.any(written[:rank] >= extents)", "np.all(written[:rank] >= extents)"),
        ),
    ),
    Mutated(
        "applications/tasks/landmarks.py",
        ("tests/applications/tasks/test_landmarks.py",),
        (
            ("np.where(placed[:, 3:] > 0, learned, np.nan)", "learned"),
            ("(np.isfinite(learned), AWAY) if self.is_map else (is_shown, np.nan)", "(is_shown, AWAY)"),
            ("radius / spacing, label)", "radius / spacing.min(), label)"),
            (
                "np.square(table[:, : len(size)]) @ np.square(lengths)",
                "np.square(table[:, : len(size)]) @ np.abs(lengths)",
            ),
            (
                "self.parse_number(visible, self.attributes[count + number]) <= 0",
                "self.parse_number(visible, self.attributes[count + number]) < 0",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/data/heat_maps.py",
        ("tests/applications/tasks/test_landmarks.py",),
        (
            ("0.5 * (low - high) / curvature", "0.5 * (high - low) / curvature"),
            ("if not 0 < place < one.shape[axis] - 1:", "if not 0 <= place < one.shape[axis] - 1:"),
        ),
    ),
    Mutated(
        "sfgkeras/data/inverse.py",
        ("tests/data/test_points.py",),
        (
            ("return place + step if at_rim and step is not None else nearest", "return place"),
            (
                "_newton_step(jacobian, point - shown)\n        if step",
                "_newton_step(jacobian.T, point - shown)\n        if step",
            ),
        ),
    ),
    Mutated(
        "sfgkeras/data/window_targets.py",
        ("tests/data/test_windows.py", "tests/applications/tasks/test_landmarks.py"),
        (
            ("(kept + 0.5) * (np.array(self.size) / extent) - 0.5", "kept * (np.array(self.size) / extent)"),
            ("kept[np.abs(points[:, sliced] - self.start[sliced]) > SLICE] = np.nan", "pass"),
            ("weight *= self._one_channel(subject.loss_weight, place)", "pass"),
            ("place) > WHOLLY_KNOWN", "place) > 0"),
        ),
    ),
    Mutated(
        "sfgkeras/data/surface_targets.py",
        ("tests/data/test_surface_targets.py",),
        (
            ("/ steps.shape[-1]", ""),
            ('"...ij,...i->...j"', '"...ij,...j->...i"'),
            ("spacing[:, None] / spacing[None, :]", "spacing[None, :] / spacing[:, None]"),
            ("out += np.asarray(nearer", "out -= np.asarray(nearer"),
        ),
    ),
    Mutated(
        "sfgkeras/data/hdf5/source.py",
        ("tests/data/hdf5/test_source.py",),
        (
            ("spatial = (*shape[:2], 1)", "spatial = (*shape[1::-1], 1)"),
            ("np.asarray(self.affines.row(self.index), np.float64)", "np.asarray(self.affines.row(0), np.float64)"),
            ('f"{start}{index:06d}" for index', 'f"{start}{index + 1:06d}" for index'),
            ("and shape[-1] in CHANNELS and not in_space", "and shape[-1] in CHANNELS"),
            ("(str(self.path.resolve()), self.rows.name, self.index)", "(str(self.path.resolve()), self.rows.name)"),
        ),
    ),
    Mutated(
        "sfgkeras/data/folds.py",
        ("tests/data/test_folds.py",),
        (
            ("-len(members[name])", "len(members[name])"),
            ("number * fold[kind] / total[kind]", "number * fold[kind]"),
            ("groups[subject_id] if groups else subject_id", "subject_id"),
            ('strata[each] if strata else ""', '""'),
            ("np.random.PCG64(seed)", "np.random.PCG64(0)"),
        ),
    ),
    Mutated(
        "applications/subjects/folds.py",
        ("tests/applications/test_folds.py",),
        (
            ("match[1] if match.re.groups and match[1] is not None else match[0]", "match[0]"),
            ("rank * FIFTHS // len(known)", "rank // FIFTHS"),
            ("if number != fold)", "if True)"),
        ),
    ),
    Mutated(
        "applications/inference/ensemble.py",
        ("tests/applications/inference/test_ensemble.py",),
        (
            ("np.flip(values, self._axes)", "values"),
            ("{name: np.flip(volume, self._axes) for name, volume in found.items()}", "dict(found)"),
            ("1 + kept.index(axis)", "kept.index(axis)"),
            ("for count in range(len(flipping_axes) + 1)", "for count in range(2)"),
            ("for count in range(len(flipping_axes) + 1)", "for count in range(1, len(flipping_axes) + 1)"),
            ("number * channels if has_parts else 0", "0"),
            ("sums.pop(name) / np.float32(len(self._members))", "sums.pop(name)"),
        ),
    ),
    Mutated(
        "sfgkeras/data/intensity.py",
        ("tests/data/test_intensity.py",),
        (
            ("1 - strength, 1)", "strength, 1)"),
            (" & (frequencies > 0)", ""),
            ("(*(sigma,) * (window.ndim - 1), 0)", "sigma"),
            ("** window.dtype.type(gamma) * extent + low", "** window.dtype.type(gamma) + low"),
            ("mean = window.mean(axis=tuple(range(window.ndim - 1)), keepdims=True)", "mean = window.mean()"),
            ("rng.random() < self.proportion", "rng.random() >= self.proportion"),
            ("round(length / factor)", "round(length * factor)"),
            ("frequencies % num_ghosts == 0", "frequencies % 4 == 0"),
            ("axis = int(rng.integers(window.ndim - 1))", "axis = 0"),
            ('blur(window, drawn["blur_range"])', "blur(window, self.blur_range[0])"),
        ),
    ),
    Mutated(
        "sfgkeras/analysis/random_field.py",
        ("tests/analysis/test_random_field.py",),
        (
            ("(2 * self._distance**2)", "self._distance**2"),
            ("squares / (2 * self._contrast**2)", "squares / (2 * self._contrast)"),
            ("marginals / self._root[..., None]", "marginals"),
            (" if axis in self._axes else (0,) for", " for"),
            ("summed[other] += bond * scaled[one]", "pass"),
            ("_softmax(unary + agreement)", "_softmax(np.log(marginals) + agreement)"),
        ),
    ),
    Mutated(
        "applications/dicom/contours.py",
        DICOM_TESTS,
        (("- 1.5", "- 1.0"),),
    ),
    Mutated(
        "applications/dicom/ct_series.py",
        DICOM_TESTS,
        (
            ("np.ascontiguousarray(stored.T)", "np.ascontiguousarray(stored)"),
            ("np.iinfo(np.uint16).max) - INTERCEPT)", "np.iinfo(np.uint16).max))"),
            ("np.rint(hu)", "np.asarray(hu)"),
        ),
    ),
    Mutated(
        "applications/dicom/segmentation.py",
        DICOM_TESTS,
        (("transpose(2, 1, 0)", "transpose(2, 0, 1)"),),
    ),
    Mutated(
        "applications/dicom/source.py",
        DICOM_TESTS,
        (
            ("rows * across, columns * down", "rows * down, columns * across"),
            ("self.affine, order, fill=fill)", "self.affine, order, fill=0)"),
            ("return LPS_TO_RAS @ affine", "return affine"),
        ),
    ),
    Mutated(
        "applications/dicom/structures.py",
        DICOM_TESTS,
        (
            ("LPS_TO_RAS @ source.affine", "source.affine"),
            ("np.full(len(outline), place)", "np.full(len(outline), place + 0.5)"),
            ("ContourImageSequence=[_image(source.slices[place])]", "ContourImageSequence=[_image(source.slices[0])]"),
        ),
    ),
    Mutated(
        "applications/records/lock.py",
        ("tests/applications/records/test_lock.py",),
        (
            ("began is None or owner.began is None or began == owner.began", "True"),
            ("_age(path, draft) < STALE", "_age(path, draft) < 0"),
            ("os.utime(self._path)", "pass"),
            (
                "    if found is not None and found.token == owner.token:\n        path.unlink",
                "    if found is not None:\n        path.unlink",
            ),
            ('fields[0] in ("Z", "X")', 'fields[0] == "X"'),
            ("if found is not None and found.token != self._owner.token:", "if found is None:"),
        ),
    ),
    Mutated(
        "applications/planning/geometry.py",
        ("tests/applications/planning/test_geometry.py",),
        (
            ("ANISOTROPIC * sides[others].max()", "ANISOTROPIC * sides[others].min()"),
            ("np.percentile(self.spacings[:, worst], 10)", "np.percentile(self.spacings[:, worst], 90)"),
            ("shape[worst] * ANISOTROPIC <= shape[others].min()", "True"),
            ("1.5 * np.delete(sides, worst).max()", "3.0 * np.delete(sides, worst).max()"),
            ("counts[worst] > len(found) // 10", "counts[worst] > len(found) // 2"),
        ),
    ),
    Mutated(
        "applications/planning/network_section.py",
        ("tests/applications/planning/test_network_and_run_lines.py",),
        (
            ("side // step * step if side >= 2 * step else max(1, side)", "side"),
            ("RARE = 0.02", "RARE = 0.0002"),
            ("np.median(shapes, axis=0), shapes.min(axis=0)", "np.median(shapes, axis=0), shapes.max(axis=0)"),
            ("FEWEST_FOR_NYUL = 5", "FEWEST_FOR_NYUL = 500"),
            ("(8 if window.rank == 2 else 2) *", "8 *"),
            ('if facts.is_photo or kinds != {"image"}:', "if facts.is_photo:"),
        ),
    ),
    Mutated(
        "applications/planning/run_sections.py",
        ("tests/applications/planning/test_network_and_run_lines.py",),
        (
            ("SEEN * windows / batch_size", "SEEN * windows"),
            (".high > BONE[0]", ".high > BONE[1]"),
            ("if number < 20:", "if number < 200:"),
            ("max(1, iterations // VALIDATIONS)", "max(1, iterations)"),
            ("num_training -= num_training // FOLDS", "pass"),
        ),
    ),
    Mutated(
        "applications/planning/memory_fit.py",
        ("tests/applications/planning/test_lines_and_memory.py",),
        (
            ("while needed > budget and", "if needed > budget and"),
            ("            batch //= 2\n", "            batch = 1\n"),
            ("size[size.index(max(size))] //= 2", "size[0] //= 2"),
        ),
    ),
)
