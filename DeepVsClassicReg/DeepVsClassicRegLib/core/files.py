"""Files: atomic writing, protection of inputs, and JSON: dataclasses as plain values, reading and writing."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import json
import math
import mmap
import os
import re
import struct
import sys
import types
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import FileError

T = TypeVar("T")
CHUNK = 1 << 20
GZIP_HEAD = b"\x1f\x8b\x08\0" + bytes(4) + b"\x04\xff"  # deflate, no name and no time, fastest
ANOTHER_OUT = "Choose another --out."
HEADERS = (".mhd", ".nhdr")
# Formats with two files: endings of the file beside a file with this ending.
PARTNERS = {
    ".mhd": (".raw", ".zraw"),
    ".nhdr": (".raw", ".raw.gz"),
    ".hdr": (".img", ".img.gz"),
    ".img": (".hdr", ".hdr.gz"),
}
NO_SPACE = "Check the folder, its permissions and the free space."
# Variable that names the folder ('' without one), and the usual folder in the user's home.
USER_FOLDERS = {
    "win32": {"cache": ("LOCALAPPDATA", "AppData/Local"), "data": ("APPDATA", "AppData/Roaming")},
    "darwin": {"cache": ("", "Library/Caches"), "data": ("", "Library/Application Support")},
    "linux": {"cache": ("XDG_CACHE_HOME", ".cache"), "data": ("XDG_DATA_HOME", ".local/share")},
}


def digits(count: int) -> dict[str, int]:
    """Return metadata of a field whose numbers `jsonable` rounds, those inside of mappings and tuples as well."""
    return {"digits": count}


def jsonable(value: Any, *, places: int | None = None) -> Any:
    """Return the value with plain JSON types only.

    Dataclasses become mappings of their fields, keys strings, arrays and tuples lists, NaN and Inf None.

    Parameters
    ----------
    value : object
        What is made plain.
    places : int, optional
        Decimal places of floating-point numbers; a field with `digits` has its own.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            entry.name: jsonable(getattr(value, entry.name), places=entry.metadata.get("digits", places))
            for entry in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry, places=places) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return jsonable(value.tolist(), places=places)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(entry, places=places) for entry in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if places is None else round(value, places)
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def from_plain(kind: type[T], content: Mapping[str, Any]) -> T:
    """Return the dataclass that `jsonable` made plain.

    Entries that the dataclass does not have are passed over, and None stands for the default: files of other versions
    open.

    Raises
    ------
    KeyError, TypeError, ValueError
        When an entry is missing or has the wrong form.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Place:
    ...     voxel: tuple[int, ...]
    >>> from_plain(Place, {"voxel": [1, 2], "color": "red"})
    Place(voxel=(1, 2))
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"expected an object, got {content!r}")
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _converted(content[name], hints[name]) for name in names if content.get(name) is not None})


def _converted(value: Any, hint: Any) -> Any:
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _converted(value, inner[0])
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_converted(entry, kind) for entry, kind in zip(value, kinds, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {str(key): _converted(entry, inner[1]) for key, entry in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type[Any]", hint), value)
    return hint(value) if hint in (bool, float, int, str) else value


def json_digest(content: Any) -> str:
    """Return the SHA-256 of plain JSON values; the order of the keys of mappings has no effect."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files in a folder; `FileError` when there is none."""
    if not path.exists():
        raise FileError(f"There is no file {path}.", hint="Check the path.")
    found = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: found)
    return found.hexdigest()


@contextlib.contextmanager
def atomic(path: Path, *, same_ending: bool = False) -> Iterator[Path]:
    """Provide a temporary file beside `path`; it replaces `path` when the block ends without an error.

    A reader finds either the old or the complete new file.

    Parameters
    ----------
    path : Path
        The file to write; its folder must exist.
    same_ending : bool
        Whether the temporary file has the ending of `path`, for writers that choose the format by it.

    Raises
    ------
    FileError
        When the file cannot be written; the temporary file is removed.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic(target) as draft:
    ...     _ = draft.write_text("whole", encoding="utf-8")
    >>> target.read_text(encoding="utf-8")
    'whole'
    """
    draft = path.with_name(f".{os.getpid()}.{path.name}" if same_ending else f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically (UTF-8, line ends unchanged) and return its path; `FileError` when that fails."""
    with atomic(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a table as CSV atomically; `FileError` when that fails."""
    with atomic(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([["" if value is None else value for value in row] for row in rows])
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a binary file atomically and return its path; `FileError` when that fails."""
    with atomic(path) as draft:
        draft.write_bytes(content)
    return path


def write_json(path: Path, content: Mapping[str, Any], *, indent: int = 1) -> Path:
    """Write a JSON file atomically and return its path.

    Parameters
    ----------
    path : Path
        The file to write.
    content : mapping
        Converted by `jsonable`.
    indent : int
        Spaces per level.

    Raises
    ------
    FileError
        When it cannot be written.
    """
    return write_text(path, json.dumps(jsonable(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str = "", hint: str = "") -> dict[str, Any]:
    """Return the object in a JSON file; `FileError` (with `what`) when it is missing, invalid or not an object."""
    content = read_any_json(path, what=what, hint=hint)
    if not isinstance(content, dict):
        raise FileError(f"{path} contains a {type(content).__name__}, expected an object.", hint=hint)
    return content


def read_any_json(path: Path, *, what: str = "", hint: str = "") -> Any:
    """Return the object or list in a JSON file; `FileError` when the file is missing or invalid."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"Could not read {what + ' ' if what else ''}{path}: {error}.", hint=hint) from error


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file with one JSON value a line; `FileError` when the file is missing or broken."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"Could not read {path}: {error}.") from error


def settle(path: Path) -> Path:
    """Check that a written file is complete and on the disk.

    The NIfTI writer of ITK does not detect a full disk, and some file systems report it only at the end.

    Raises
    ------
    FileError
        When the file is missing, empty or truncated.
    """
    try:
        with path.open("r+b") as file:
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error
    if size == 0 or (path.suffix == ".gz" and not _is_whole_gzip(path)):
        raise FileError(f"Could not write {path}: it was truncated after {size} bytes.", hint=NO_SPACE)
    return path


def write_gzip(source: Path, target: Path, *, threads: int = 1) -> Path:
    """Write a compressed copy of a file atomically, with the fastest level of gzip and in several threads.

    The parts of the file are compressed independently and form one stream, as by the program pigz.

    Raises
    ------
    FileError
        When a file cannot be read or written.
    """
    from concurrent.futures import ThreadPoolExecutor

    with atomic(target) as draft, source.open("rb") as file, draft.open("wb") as packed:
        if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
            packed.write(gzip.compress(b""))
            return target
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, ThreadPoolExecutor(threads) as pool:
            size = len(content)

            def part(start: int) -> bytes:
                stream = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
                is_last = start + CHUNK >= size
                ending = zlib.Z_FINISH if is_last else zlib.Z_FULL_FLUSH
                return stream.compress(content[start : start + CHUNK]) + stream.flush(ending)

            packed.write(GZIP_HEAD)
            packed.writelines(pool.map(part, range(0, size, CHUNK)))
            packed.write(struct.pack("<II", zlib.crc32(content), size % 2**32))
    return target


def split_series(path: Path) -> tuple[Path, str | None]:
    """Return folder and series of a path such as `study#4`, series 4 of a DICOM folder; None without a series.

    Examples
    --------
    >>> split_series(Path("study#4"))[1]
    '4'
    """
    folder, mark, series = str(path).rpartition("#")
    return (Path(folder), series) if mark and series and not path.exists() else (path, None)


def protect_inputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Raise when an output would change an input.

    Files are compared, not names, so that other spellings of a path, symbolic links, hard links and file systems that
    ignore case are recognized. Headers include their voxel files (.mhd and .raw, .hdr and .img). No output may be
    written to a folder that is an input itself, such as a DICOM series.

    Parameters
    ----------
    inputs : iterable of path
        Files and folders that are read; missing ones are reported by their readers.
    outputs : iterable of path
        Files to write; they may exist.

    Raises
    ------
    FileError
        When an output is an input or in an input folder.
    """
    inputs, outputs = list(inputs), list(outputs)
    for path in (*inputs, *outputs):
        check_path(path)
    sources = [split_series(path)[0] for path in inputs]
    read = {_identity(part): path for path in sources if path.exists() for part in _parts_read(path)}
    folders = {_identity(path): path for path in sources if path.is_dir()}
    for output in outputs:
        for part in (output, *_parts_written(output)):
            if part.exists() and (victim := read.get(_identity(part))):
                raise FileError(f"{victim} would be overwritten by the result {part}.", hint=ANOTHER_OUT)
        if output.parent.exists() and (folder := folders.get(_identity(output.parent))):
            raise FileError(
                f"The result {output.name} would be written into the input folder {folder}.", hint=ANOTHER_OUT
            )


def check_path(path: Path) -> None:
    """Raise an error for a path whose file cannot be asked for, such as one longer than the file system allows.

    Raises
    ------
    FileError
        When it is such a path.
    """
    try:
        path.exists()
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}.", hint="Choose a shorter path.") from error


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _parts_read(path: Path) -> list[Path]:
    """Return the files of an input: itself, the voxel files of a header, the files of a folder."""
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file()]
    parts = [path, *_parts_written(path)]
    if path.suffix.lower() in HEADERS:  # they list their voxel files, one or several on a line
        for line in path.read_bytes()[:CHUNK].decode("latin-1").splitlines():
            value = re.split("[:=]", line, maxsplit=1)[-1].strip()
            parts += [path.parent / name for name in (value, *value.split())]
    return [part for part in parts if part.is_file()]


def _parts_written(path: Path) -> list[Path]:
    """Return all files that are written for an output of this name."""
    name = path.name.removesuffix(".gz")
    base, _, ending = name.rpartition(".")
    return [path.with_name(base + other) for other in PARTNERS.get("." + ending.lower(), ())]


def _is_whole_gzip(path: Path) -> bool:
    try:
        with gzip.open(path, "rb") as file:
            while file.read(CHUNK):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def user_folder(kind: str) -> Path:
    """Return the folder of this library for the user's 'cache' or 'data', which may not exist yet."""
    variable, usual = USER_FOLDERS.get(sys.platform, USER_FOLDERS["linux"])[kind]
    return Path(os.environ.get(variable, "") or Path.home() / usual) / "DeepVsClassicReg"


def resource_folder() -> Path:
    """Return the Resources folder: beside the library in Slicer and in the source tree, inside it in a wheel."""
    library = Path(__file__).resolve().parents[1]
    beside, inside = library.parent / "Resources", library / "_resources"
    folder = beside if (beside / "Presets").is_dir() else inside
    if not folder.is_dir():
        raise FileError(f"The resources are missing (looked in {beside} and {inside}).", hint="Reinstall.")
    return folder
