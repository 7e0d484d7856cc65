"""DICOM series: reads the headers of all slices, then the slices that form one volume.

ITK's series reader uses the position of the first slice, the distance of the first two and the scale of one slice for
the whole stack, so that missing slices, tilted gantries, several echoes and PET give wrong volumes without a warning.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError
from .channels import PICTURES
from .dicom_slices import (
    Incomplete,
    Slice,
    Unfit,
    damages,
    pydicom,
    read_dataset,
    series_of,
    slices_of,
)
from .dicom_stacks import Stack, chosen, placement, stacks_of
from .raw import MGH_ENDINGS, NIFTI_ENDINGS, RawImage, looks_like_dicom

_RLE = "1.2.840.10008.1.2.5"
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_SUBFOLDERS = 20
_NAMED_DICOM = (".dcm", ".ima")
_VOLUMES = (*NIFTI_ENDINGS, *MGH_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd")
_EXPORT = "Export the series as CT, MR or PET images (not as captures), or convert it with dcm2niix first."


def read_dicom(path: Path, series: str | None = None) -> RawImage:
    """Read one stack of slices of a folder, or of a multi-frame file.

    Parameters
    ----------
    path : Path
        Folder or file.
    series : str, optional
        The series, when there are several: its number in the list of the error, its UID or its description.

    Raises
    ------
    FileError
        When there is no DICOM volume, the choice is ambiguous, or a file is damaged or its compression is unknown.
    GeometryError
        When the slices do not form a regular volume.
    """
    notes: list[str] = []
    slices, unfit = _scan(path)
    if not slices:
        raise _nothing(path, unfit)
    stacks = stacks_of(slices, notes)
    stack = chosen(stacks, series, str(path), notes)
    _check_left_out(unfit, stack, notes)
    where = placement(stack, notes)
    array, valid = _values(stack, notes)
    if where.resamples:
        array = where.placed(array if valid is None else np.where(valid, array, np.nan))
        valid = np.isfinite(array)
        array = np.where(valid, array, array[valid].min())
    first = stack.slices[0]
    if first.inverted:
        notes.append("The file says that low values are shown bright (MONOCHROME1); the values are read as they are.")
    if any(entry.slope_is_zero for entry in stack.slices):
        notes.append("The header scales values by 0, which cannot be meant; they are read as they are stored.")
    about = {
        "series": stack.describe(),
        "slices": len(stack.slices),
        "slopes": _span(entry.slope for entry in stack.slices),
        "intercepts": _span(entry.intercept for entry in stack.slices),
    }
    return RawImage(array, where.grid, f"DICOM {first.modality}", tuple(notes), about, valid)


@dataclass(frozen=True)
class LeftOut:
    """A DICOM file without a slice: why, and the series it names ('' when none)."""

    reason: Unfit
    series: str = ""


def _scan(path: Path) -> tuple[list[Slice], dict[str, LeftOut]]:
    """Return the slices of a file or of the files of a folder, and what the other DICOM files hold."""
    slices: list[Slice] = []
    unfit: dict[str, LeftOut] = {}
    for file in [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file()):
        dataset = read_dataset(file, pixels=False)
        if dataset is None:
            if file.suffix.lower() in _NAMED_DICOM:
                size = file.stat().st_size
                unfit[file.name] = LeftOut(Incomplete(f"not a DICOM file, despite its name ({size} bytes)"))
            continue
        try:
            slices += slices_of(dataset, file)
        except Unfit as reason:
            unfit[file.name] = LeftOut(reason, series_of(dataset, file))
    return slices, unfit


def _check_left_out(unfit: dict[str, LeftOut], stack: Stack, notes: list[str]) -> None:
    """Refuse a stack that lacks an image of its series; note what else is left out."""
    series = stack.slices[0].series
    lost = {
        name: left.reason
        for name, left in unfit.items()
        if isinstance(left.reason, Incomplete) and series.startswith(left.series)  # a file cut off may end within it
    }
    if lost:
        raise FileError(
            f"A slice of series {stack.key} cannot be placed: {_said(lost)}.",
            hint="Copy or export the series again, completely.",
        )
    if unfit:
        others = {name: left.reason for name, left in unfit.items()}
        notes.append(f"{len(unfit)} files of the folder are not slices and are ignored: {_said(others)}.")


def _said(unfit: Mapping[str, Unfit]) -> str:
    """Return what files hold, one of each kind."""
    kinds = {str(reason): name for name, reason in unfit.items()}
    return "; ".join(f"{name} is {reason}" for reason, name in list(kinds.items())[:5])


def _nothing(path: Path, unfit: dict[str, LeftOut]) -> FileError:
    if unfit:
        said = _said({name: left.reason for name, left in unfit.items()})
        return FileError(f"{path} contains no DICOM images that form a volume: {said}.", hint=_EXPORT)
    below = [folder.name for folder in sorted(path.iterdir()) if folder.is_dir() and _has_dicom(folder)]
    files = sorted(entry.name for entry in path.iterdir() if entry.name.lower().endswith(_VOLUMES))
    pictures = any(entry.name.lower().endswith(PICTURES) for entry in path.iterdir())
    if below:
        hint = f"Give one of its folders: {', '.join(below[:5])}."
    elif files:
        hint = f"Give one of its files: {', '.join(files[:5])}."
    elif pictures:
        hint = "It contains pictures: make a volume of these sections with dvcreg stack, or save them as one volume."
    else:
        hint = "Give a folder with the slices of a series."
    return FileError(f"No DICOM series in {path}.", hint=hint)


def _has_dicom(folder: Path) -> bool:
    files = (entry for entry in sorted(folder.iterdir())[:_SUBFOLDERS] if entry.is_file())
    return any(looks_like_dicom(file) for file in files)


def _values(stack: Stack, notes: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return the real values (N, Y, X) of a stack and where they were measured; integers where scales are whole."""
    slices = stack.slices
    whole = all(entry.slope == 1 and entry.intercept == int(entry.intercept) for entry in slices)
    shape = (len(slices), slices[0].size[1], slices[0].size[0])
    array = np.zeros(shape, np.int32 if whole else np.float32)
    padded = np.zeros(shape, bool)
    for number, stored in _stored(slices):
        entry = slices[number]
        if stored.shape != shape[1:]:
            raise FileError(f"{entry.path.name} contains {stored.shape} pixels, its header says {shape[1:]}.")
        if whole and stored.dtype.kind == "f":
            whole, array = False, array.astype(np.float32)
        array[number] = stored + int(entry.intercept) if whole else stored * entry.slope + entry.intercept
        if entry.padding is not None:
            padded[number] = (stored >= entry.padding[0]) & (stored <= entry.padding[1])
    if not padded.any() or padded.all():
        return array, None
    share = 100 * padded.mean()
    notes.append(f"{share:.2g} % of the voxels are padding according to the header; they are treated as not measured.")
    return array, ~padded


def _stored(slices: Sequence[Slice]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the number and the stored pixels of each slice, file by file."""
    files: dict[Path, list[int]] = {}
    for number, entry in enumerate(slices):
        files.setdefault(entry.path, []).append(number)
    for path, numbers in files.items():
        frames = decoded(path)
        for number in numbers:
            yield number, frames[slices[number].frame].astype(np.int64 if frames.dtype.kind in "iub" else np.float64)


def decoded(path: Path) -> npt.NDArray[Any]:
    """Return the stored pixels of a file, (frames, rows, columns).

    Raises
    ------
    FileError
        When the file is cut off or its compression is not supported.
    """
    dataset = read_dataset(path, pixels=True)
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    compressed = bool(syntax and syntax.is_compressed and syntax != _RLE and "Deflated" not in syntax.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = _by_itk(dataset) if compressed else _by_pydicom(dataset)
    except damages() as error:
        name = syntax.name if syntax else "an unknown transfer syntax"
        what = (
            f"is compressed ({name}) in a way that cannot be read here"
            if compressed
            else "is cut off or damaged: its pixels cannot be read"
        )
        hint = "Decompress it first (gdcmconv --raw, or dcmdjpeg)." if compressed else "Copy or export it again."
        raise FileError(f"{path.name} {what}.", hint=hint) from error
    return frames.reshape(-1, *frames.shape[-2:])


def _by_pydicom(dataset: Any) -> npt.NDArray[Any]:
    meta = getattr(dataset, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        # pydicom guessed byte order and value representation when it read the file.
        package = pydicom()
        if meta is None:
            dataset.file_meta = package.dataset.FileMetaDataset()
        implicit, little = dataset.original_encoding
        uid = package.uid
        dataset.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian
            if implicit
            else uid.ExplicitVRLittleEndian
            if little
            else uid.ExplicitVRBigEndian
        )
    return np.asarray(dataset.pixel_array)


def _by_itk(dataset: Any) -> npt.NDArray[Any]:
    """Return compressed pixels by ITK's decoders, as they are stored: without the scale, which ITK would round."""
    for tag in (
        "RescaleSlope",
        "RescaleIntercept",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ):
        if tag in dataset:
            del dataset[tag]
    if "JPEG" in dataset.file_meta.TransferSyntaxUID.name and not _ends(bytes(dataset.PixelData)):
        raise EOFError("the compressed pixels do not end")  # the decoders would print lines of their own
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stored.dcm"
        dataset.save_as(copy)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(copy), imageIO="GDCMImageIO")))


def _ends(encapsulated: bytes) -> bool:
    """Return whether the last compressed frame ends with the marker that all kinds of JPEG end with."""
    return encapsulated.removesuffix(_DELIMITER).rstrip(b"\0\xff").endswith(b"\xff\xd9")


def _span(values: Iterator[float]) -> list[float]:
    numbers = sorted(set(values))
    return numbers if len(numbers) == 1 else [numbers[0], numbers[-1]]
