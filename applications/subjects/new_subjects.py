"""The subjects of `sfgkeras predict --input`: which file is whose, and which of the network's images it is.

An image is told by the rule of its input section in the INI file (`filename_contains`), else by the section's name in
the name of the file (`p1_T2.nii.gz` is [T2]), else by being the only one that the network sees. Rows of HDF5 files are
images, too (`new_rows`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sfgkeras.applications.subjects.new_rows import find_rows, hdf5_files_in, sections_of, split_hdf5
from sfgkeras.config import Config
from sfgkeras.data.file_search import (
    SUBJECT_FOLDERS,
    fits_words,
    id_pattern,
    images_below,
    images_in,
    name_of,
    subject_folders_in,
)
from sfgkeras.data.nifti import LOADERS as FILE_LOADERS
from sfgkeras.data.nifti import is_image, is_photo
from sfgkeras.data.references import ImageFile, ImageRef
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError, counted, suggestion

_SEPARATORS = "_-. "
_PARTS_OF_A_SUBJECT = re.compile(r"(ses-.*|anat|func|dwi|fmap|perf|pet|micr)", re.IGNORECASE)

NAMED, BY_RULE, BY_SECTION, BY_FILE, ONLY_ONE = (
    "as named by SOURCE=PATH", "by filename_contains", "by the section's name", "by hdf5_file",
    "the only image of the network",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One image of one subject.

    Attributes:
        subject_id: The subject.
        source: The input section that it stands for.
        image: A file, the folder of a DICOM series, or a row of an HDF5 file.
        how: What told the section.
    """

    subject_id: str
    source: str
    image: ImageRef
    how: str


def find_subjects(inputs: Sequence[str], config: Config, photos: bool | None = None) -> tuple[list[Subject], list[str]]:
    """Finds the subjects that `--input` names.

    Args:
        inputs: Files, DICOM folders, HDF5 files, folders of images, folders of subjects' folders; each also as
            `SOURCE=PATH`.
        config: Knows the network's image sources.
        photos: Whether the network sees photos; None does not care. In folders the others are passed over.

    Returns:
        The subjects, sorted by id, each with a file for every image source; and how the images were told, one line
        for each way.

    Raises:
        ConfigError: If an input names a section that is no image source.
        DataError: If there is no image, an image could be several things, or a subject lacks one.
    """
    finder = _Finder(config, photos)
    given = [_split_source(text, config.image) for text in inputs]
    found = []
    loose: list[tuple[Path, str | None]] = []
    for path, source in given:
        hdf5 = split_hdf5(path)
        if not (path if hdf5 is None else hdf5[0]).exists():
            raise DataError(f"--input {path}: does not exist; check the path")
        if hdf5 is not None:
            found += finder.rows(*hdf5, source)
        elif path.is_dir() and not is_image(path):
            found += finder.in_folder(path, source)
        else:
            loose.append((path, source))
    if loose:
        found += finder.loose(loose)
    return _join(found, config), _describe(found)


def _split_source(text: str, sources: Sequence[str]) -> tuple[Path, str | None]:
    """Reads `PATH` or `SOURCE=PATH`; a path that exists may have the sign in its name."""
    path = Path(text).expanduser()
    name, sign, rest = text.partition("=")
    if path.exists() or not sign:
        return path, None
    known = {source.lower(): source for source in sources}
    if name.strip().lower() in known:
        return Path(rest.strip()).expanduser(), known[name.strip().lower()]
    raise ConfigError(
        f"--input {text}: there is no such file, and [{name}] is no image that the network sees"
        f"{suggestion(name, list(sources))}; these are {', '.join(sources)}"
    )


class _Finder:
    def __init__(self, config: Config, photos: bool | None) -> None:
        self._config = config
        self._photos = photos
        self._images = config.image

    def in_folder(self, folder: Path, source: str | None) -> list[Found]:
        """Finds the images of a folder of images, of one subject, or of subjects' folders."""
        direct = self._usable(images_in(folder), folder)
        if direct:
            return self._joined(direct, source, folder)
        inner = [each for each in subject_folders_in(folder) if not self._is_output(each)]
        if inner and all(_PARTS_OF_A_SUBJECT.fullmatch(each.name) for each in inner):
            return self._of_subject(folder, list(images_below(folder)), source)
        found = []
        for each in inner:
            images = self._usable(list(images_below(each)), each)
            found += self._of_subject(each, images, source) if images else []
        for path in hdf5_files_in(folder, self._config) if not found else ():
            found += self.rows(path, None, source)
        if not found:
            raise DataError(
                f"--input {folder}: holds no image, nor does a folder in it; name NIfTI files or DICOM series"
            )
        return found

    def rows(self, path: Path, data_set: str | None, source: str | None) -> list[Found]:
        """Finds the images in the rows of an HDF5 file, of one of its data sets if that is named."""
        names = [source] if source is not None else sections_of(path, self._config)
        how = NAMED if source is not None else ONLY_ONE if len(self._images) == 1 else BY_FILE
        return [
            Found(subject_id, name, image, how)
            for name in names
            for subject_id, image in find_rows(path, data_set, name, self._config).items()
        ]

    def loose(self, given: Sequence[tuple[Path, str | None]]) -> list[Found]:
        """Finds what single images are that were named one by one."""
        told = {path: (source, NAMED) for path, source in given if source is not None}
        rest = [path for path, source in given if source is None]
        if rest:
            told |= self._tell(rest, "--input", set(self._images) - {source for source, _ in told.values()})
        return self._with_ids(told, None)

    def _usable(self, paths: Sequence[Path], folder: Path) -> list[Path]:
        """Leaves out photos where volumes are wanted, and the other way round."""
        if self._photos is None:
            return list(paths)
        kept = [path for path in paths if is_photo(path) == self._photos]
        if paths and not kept:
            wanted, are = ("photos", "volumes") if self._photos else ("volumes", "photos")
            raise DataError(f"--input {folder}: the network sees {wanted}, and here are only {are} ({len(paths)})")
        return kept

    def _is_output(self, folder: Path) -> bool:
        return folder.resolve() == self._config.inference.save_seg_dir.resolve()

    def _joined(self, paths: Sequence[Path], source: str | None, folder: Path) -> list[Found]:
        if source is not None:
            rule = self._rule(source)
            fitting = [path for path in paths if rule(path)] or list(paths)
            return self._with_ids(dict.fromkeys(fitting, (source, NAMED)), folder)
        return self._with_ids(self._tell(paths, str(folder)), folder)

    def _of_subject(self, folder: Path, paths: Sequence[Path], source: str | None) -> list[Found]:
        """Finds the images of one subject's folder; its name is the id."""
        if source is not None:
            rule = self._rule(source)
            told = dict.fromkeys([path for path in paths if rule(path)] or paths, (source, NAMED))
        else:
            told = self._tell(paths, str(folder))
        seen: dict[str, Path] = {}
        for path, (name, _) in told.items():
            if name in seen:
                raise DataError(
                    f"{folder}: {path.relative_to(folder)} and {seen[name].relative_to(folder)} could both be [{name}] "
                    f"of subject {folder.name!r}; name the right one: --input {name}={path}, or tell them apart with "
                    f"--{name}.filename_contains"
                )
            seen[name] = path
        pattern = id_pattern((), self._folder_pattern())
        subject_id = pattern.sub("", folder.resolve().name) or folder.resolve().name
        return [Found(subject_id, name, self._file(path, name), how) for path, (name, how) in told.items()]

    def _folder_pattern(self) -> str | None:
        first = self._config.sources[self._images[0]]
        return first.filename_removefromid if first.layout == SUBJECT_FOLDERS else None

    def _rule(self, name: str) -> Callable[[Path], bool]:
        settings = self._config.sources[name]
        words, excluded = settings.filename_contains, settings.filename_not_contains
        return lambda path: bool(words or excluded) and fits_words(path, words, excluded)

    def _tell(self, paths: Sequence[Path], where: str, wanted: set[str] | None = None) -> dict[Path, tuple[str, str]]:
        """Tells which section each image stands for; images that stand for none are left out.

        Raises:
            DataError: If no rule gives every wanted section an image.
        """
        images = [name for name in self._images if wanted is None or name in wanted] or list(self._images)
        rules = {name: self._rule(name) for name in images}
        tokens = {name: _section_name(name) for name in images}
        ways: dict[str, Callable[[str, Path], bool]] = {
            BY_RULE: lambda name, path: rules[name](path),
            BY_SECTION: lambda name, path: bool(tokens[name].search(name_of(path))),
        }
        for how, fits in ways.items():
            told = {path: [name for name in images if fits(name, path)] for path in paths}
            if all(len(names) <= 1 for names in told.values()) and {n for names in told.values() for n in names} == set(
                images
            ):
                return {path: (names[0], how) for path, names in told.items() if names}
        if len(images) == 1:
            return dict.fromkeys(paths, (images[0], ONLY_ONE))
        shown = ", ".join(path.name for path in paths[:4]) + (", ..." if len(paths) > 4 else "")
        example = " ".join(f"--input {name}=FILE" for name in images)
        raise DataError(
            f"{where}: the network sees {len(self._images)} images, {', '.join(self._images)}, and the names of the "
            f"{counted(len(paths), 'image')} here do not tell which is which ({shown}); write "
            f"{example}"
        )

    def _with_ids(self, told: Mapping[Path, tuple[str, str]], folder: Path | None) -> list[Found]:
        """Gives every image the id of its name; one image for each section is one subject, whatever the names."""
        found = [
            Found(self._id_of(path, name, how), name, self._file(path, name), how) for path, (name, how) in told.items()
        ]
        counts = [sum(each.source == name for each in found) for name in self._images]
        if len({each.subject_id for each in found}) > 1 and counts == [1] * len(self._images):
            first = min(found, key=lambda each: self._images.index(each.source))
            subject_id = first.subject_id if folder is None else folder.resolve().name
            found = [replace(each, subject_id=subject_id) for each in found]
        return found

    def _file(self, path: Path, name: str) -> ImageFile:
        """Returns a new image, read as in training, or by its ending where training read rows of another kind."""
        loader = self._config.sources[name].loader
        return ImageFile(path, loader if loader in FILE_LOADERS else None)

    def _id_of(self, path: Path, name: str, how: str) -> str:
        """Returns the id that a name gives; where nothing of it remains, that of the folder."""
        settings, stem = self._config.sources[name], name_of(path.resolve() if path.name in ("", "..") else path)
        words = settings.filename_contains if self._rule(name)(path) else ()
        subject_id = id_pattern(words, settings.filename_removefromid).sub("", stem)
        if how == BY_SECTION:
            subject_id = _section_name(name).sub("", subject_id).strip(_SEPARATORS)
        if settings.layout == SUBJECT_FOLDERS:
            subject_id = subject_id.strip(_SEPARATORS)
        return subject_id or path.resolve().parent.name


def _section_name(name: str) -> re.Pattern[str]:
    """Returns what finds a section's name as a word of its own, e.g. `T2` in `p1_t2.nii.gz`."""
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def _join(found: Sequence[Found], config: Config) -> list[Subject]:
    subjects: dict[str, dict[str, ImageRef]] = {}
    for each in found:
        images = subjects.setdefault(each.subject_id, {})
        other = images.get(each.source)
        if other is not None and other.place != each.image.place:
            raise DataError(
                f"{each.image}: has the subject id {each.subject_id!r}, as has {other}; results would have one name: "
                "predict them into different folders, or rename one"
            )
        images[each.source] = each.image
    problems = []
    for subject_id, images in sorted(subjects.items()):
        missing = [name for name in config.image if name not in images]
        if missing:
            have = ", ".join(f"[{name}] {image}" for name, image in images.items())
            problems.append(
                f"subject {subject_id!r} has no [{missing[0]}], only {have}: the network was trained with "
                f"{', '.join(config.image)}; add it, e.g. --input {missing[0]}=FILE"
            )
    if problems:
        raise DataError("\n".join(problems))
    return [
        Subject(subject_id, {name: images[name] for name in config.image})
        for subject_id, images in sorted(subjects.items())
    ]


def _describe(found: Sequence[Found]) -> list[str]:
    """Says how many images were told which way."""
    counts: dict[tuple[str, str], int] = {}
    for each in found:
        counts[each.source, each.how] = counts.get((each.source, each.how), 0) + 1
    return [
        f"[{source}]: {counted(count, 'image')}, {how if how == ONLY_ONE else f'told {how}'}"
        for (source, how), count in counts.items()
    ]
