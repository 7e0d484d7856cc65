"""Reading and writing volumes and segmentations in the formats of the field."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError, GeometryError, RegistrationError
from ..files import NO_SPACE, check_path, settle, split_series, write_gzip
from .channels import (
    PICTURES,
    Channels,
    as_volume,
    channels_image,
    scalar_of,
    wanted_channel,
    write_picture,
)
from .completeness import check_complete
from .freesurfer import read_mgh
from .grid import Grid, grid_from_lps
from .intensity import marked
from .matching import Structure, common_numbers
from .nifti import read_nifti
from .raw import Pathlike, RawImage, check_content, is_mgh, is_nifti, looks_like_dicom
from .resample import Mapping as PointMap
from .resample import grid_of, image_from_array, to_sitk, warp_labels
from .stated import geometry_notes
from .volume import LABEL_RANGE, LabelMap, Segment, Volume

FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha, .mhd), FreeSurfer (.mgz), PNG, TIFF or a DICOM folder"
FRAME = re.compile(r"(.+)\.nii(?:\.gz)?#(\d+)", re.IGNORECASE)
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")
NRRD = (".nrrd", ".nhdr")
ENTRY = re.compile(r"Segment(\d+)_(\w+)")
# Entries about the voxels; all other entries of a segment are kept unchanged.
OWN = ("Name", "LabelValue", "Layer", "Extent")
MOST_NAMED = 6
# Labels stored as scaled integers or computed as floats deviate less, interpolated ones and probabilities more.
ALMOST_WHOLE = 0.01


def read_raw(path: Pathlike, *, series: str | None = None) -> RawImage:
    """Read a 3D image, or a 2D image as one slice, with its stored values.

    Parameters
    ----------
    path : path
        File or DICOM folder; `folder#4` is series 4 of a DICOM folder, `scan.nii.gz#4` frame 4 (from 0) of a 4D NIfTI,
        `photo.png#channel=1` channel 1 (from 0) of a color or vector image, which is otherwise read by its luminance.
    series : str, optional
        The series of a DICOM folder with several, see `read_dicom`; the frame of a 4D NIfTI; 'channel=1'.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the image is not 3D or its axes are sheared.
    RegistrationError
        When it is a vector image without a chosen channel.
    """
    check_path(Path(path))
    source, named = split_series(Path(path))
    series = series or named
    if not source.exists():
        raise FileError(f"No such file: {source}.", hint="Check the path.")
    check_content(source)
    if source.is_dir() or looks_like_dicom(source):
        from .dicom import read_dicom

        return read_dicom(source, series)
    if source.is_file():
        if is_nifti(source):
            return read_nifti(source, series)
        if is_mgh(source):
            return read_mgh(source)
    read = read_image(source)
    image, odd = _three_dimensional(read, source.name)
    notes: list[str] = [*(geometry_notes(source) if read.GetDimension() > 2 else ()), *odd]
    array, kind, channels = sitk.GetArrayFromImage(image), image.GetPixelIDTypeAsString(), None
    if image.GetNumberOfComponentsPerPixel() > 1:
        channels = array
        array, note = scalar_of(channels, wanted_channel(series), source.name)
        notes.append(note)
    return RawImage(array, _grid(image, source.name, notes), kind, tuple(notes), channels=channels)


def read_channels(path: Pathlike) -> Channels | None:
    """Return all channels of a color or vector image, None for an image with one value per voxel."""
    raw = read_raw(path)
    return None if raw.channels is None else Channels(raw.channels, raw.grid, stem(path))


def write_channels(channels: Channels, path: Pathlike) -> Path:
    """Write a color or vector image in its type; pictures (.png, .tif, .jpg, .bmp) hold one slice."""
    if str(path).lower().endswith(PICTURES):
        return settle(write_picture(channels.array, channels.grid, path))
    return write_image(channels_image(channels), path)


def write_image(image: sitk.Image, path: Pathlike, *, compress: bool = True) -> Path:
    """Write a SimpleITK image, compressed fast, always with the ending .gz; `FileError` when that fails."""
    target = Path(path)
    if not target.name.lower().endswith(WRITABLE):
        raise FileError(f"{target.name}: unknown ending for an image.", hint=f"Use one of {', '.join(WRITABLE)}.")
    if not target.name.lower().endswith(".gz"):
        _write_with_itk(image, target, named=target, compress=compress)
        if not compress:
            _check_size(image, target, named=target)
        return settle(target)
    # ITK compresses NIfTI files with one thread and always with the slow default level.
    plain = target.with_name(f".{target.name}.{os.getpid()}.nii")
    try:
        _write_with_itk(image, plain, named=target)
        _check_size(image, plain, named=target)
        return write_gzip(plain, target, threads=sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
    finally:
        plain.unlink(missing_ok=True)


def _write_with_itk(image: sitk.Image, path: Path, *, named: Path, compress: bool = True) -> None:
    """Write an image; errors name the file that the user wants."""
    try:
        sitk.WriteImage(image, str(path), useCompression=compress, compressionLevel=1)
    except RuntimeError as error:
        reason = _last_line(error).replace(str(path), str(named))
        raise FileError(
            f"Could not write {named}: {reason}.", hint="Check the folder, the ending and the free space."
        ) from error


def _check_size(image: sitk.Image, path: Path, *, named: Path) -> None:
    """Raise an error when a file has fewer bytes than the voxels: ITK does not detect a full disk."""
    voxels = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    if (size := path.stat().st_size) < voxels:
        raise FileError(f"Could not write {named}: it was truncated after {size} bytes.", hint=NO_SPACE)


def stem(path: Pathlike) -> str:
    """Return the file's name without folder and (double) ending."""
    name = Path(path).name
    if framed := FRAME.fullmatch(name):
        return f"{framed[1]}_{framed[2]}"
    for ending in (".nii.gz", ".mrk.json", ".seg.nrrd", ".mgh.gz"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return Path(name).stem


def read_image(path: Path) -> sitk.Image:
    """Return an image of any dimension and type as ITK reads it, after a check that the file is complete."""
    check_complete(path)
    if path.is_file() and not sitk.ImageFileReader.GetImageIOFromFileName(str(path)):
        raise FileError(
            f"Could not read {path}: its format is not known, or it is damaged.", hint=f"Readable are {FORMATS}."
        )
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise GeometryError(
                f"{path.name} has sheared axes (no orthonormal direction).",
                hint="Resample it to an ordinary grid first (in Slicer: Harden transform, Resample).",
            ) from error
        raise FileError(
            f"Could not read {path}: {_last_line(error)}.",
            hint="The file is damaged or of a kind that ITK does not read; copy it again, or save it as .nii.gz.",
        ) from error


def _three_dimensional(image: sitk.Image, name: str) -> tuple[sitk.Image, tuple[str, ...]]:
    if image.GetDimension() == 2:
        return as_volume(image, name)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return image[:, :, :, 0], ("A 4D file with one frame, read as 3D.",)
    if image.GetDimension() != 3:
        raise GeometryError(
            f"{name} has {image.GetDimension()} dimensions {image.GetSize()}, expected 3.",
            hint="Extract one 3D frame first." if image.GetDimension() == 4 else "Give a 3D volume.",
        )
    return image, ()


def _grid(image: sitk.Image, name: str, notes: list[str]) -> Grid:
    """Return the grid of an image; the nearest one where the direction cosines are rounded or contain the spacing."""
    try:
        return grid_of(image)
    except GeometryError:
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        matrix[:3, 3] = image.GetOrigin()
        return grid_from_lps(matrix, image.GetSize(), name, notes)


def _last_line(error: Exception) -> str:
    """Return the last line with words of an error of ITK."""
    lines = [line.strip() for line in str(error).splitlines() if re.search("[A-Za-z]{2}", line)]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".") if lines else type(error).__name__


def read_volume(path: Pathlike, *, repair: bool = True, name: str | None = None, series: str | None = None) -> Volume:
    """Read a 3D volume, or a 2D image as one slice; color images by their luminance.

    Parameters
    ----------
    path : path
        A NIfTI or FreeSurfer file, a file of any other format SimpleITK reads, or a folder with DICOM slices.
    repair : bool, default True
        Mark NaN and Inf as not measured (`Volume.valid`) and fill them with the lowest finite value; padding is
        marked in any case.
    name : str, optional
        Name of the volume; the file's name when not given.
    series : str, optional
        Which series of a DICOM folder with several: number as the error lists it, UID or description.

    Returns
    -------
    Volume
        Its `notes` say what was odd in the file and how it was read.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the volume is not 3D or its axes are sheared.
    RegistrationError
        When it is a vector image without a chosen channel, contains no finite value, or contains NaN or Inf and
        `repair` is False.
    """
    return volume_of(read_raw(path, series=series), name or stem(path), repair=repair)


def volume_of(raw: RawImage, name: str, *, repair: bool = True) -> Volume:
    """Return the stored image as a volume; see `read_volume`."""
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes Inf, and is said to be
        array = raw.array.astype(np.float32)
    if not repair and not np.isfinite(array).all():
        raise RegistrationError(f"'{name}' has values that are not finite (NaN or Inf).")
    return marked(Volume.filled(array, raw.grid, name, notes=raw.notes, valid=raw.valid))


def write_volume(volume: Volume | LabelMap, path: Pathlike, *, compress: bool = True) -> Path:
    """Write a volume (float32) or a label map (smallest integer type), a slice also as a picture.

    Label maps and files that end with .gz are always compressed, others with `compress`.

    Raises
    ------
    FileError
        When the file cannot be written (folder missing, disk full, unknown format).
    """
    if isinstance(volume, LabelMap):
        return write_labels(volume, path)
    if str(path).lower().endswith(PICTURES):
        return settle(write_picture(volume.array, volume.grid, path))
    return write_image(to_sitk(volume), path, compress=compress)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation whose segments may overlap.

    Parameters
    ----------
    layers : tuple of LabelMap
        Layers on one grid, each without overlap. A value may denote different segments in different layers.
    name : str
        Name in messages and reports.
    notes : tuple of str
        Notes for the user.
    """

    layers: tuple[LabelMap, ...]
    name: str = "segmentation"
    notes: tuple[str, ...] = ()

    def flattened(self) -> LabelMap:
        """Return one label map, later layers overwrite earlier ones; its notes list hidden segments."""

        def called(segments: Mapping[int, Segment], number: int) -> str:
            return segments[number].name or str(number)

        first = self.layers[0]
        if len(self.layers) == 1:
            return replace(first, name=self.name, notes=(*self.notes, *first.notes))
        array = np.zeros(first.grid.shape, dtype=np.int32)
        segments: dict[int, Segment] = {}
        hidden: dict[tuple[str, str], int] = {}
        for layer in self.layers:
            for value in sorted({*layer.segments, *layer.labels}):
                number = value if value not in segments else max(segments) + 1
                segments[number] = layer.segments.get(value, Segment(""))
                here = layer.array == value
                for below, count in zip(*np.unique(array[here], return_counts=True), strict=True):
                    if below != 0:
                        hidden[called(segments, number), called(segments, int(below))] = int(count)
                array[here] = number
        notes = [f"Segments overlap: '{top}' hides {count} voxels of '{low}'." for (top, low), count in hidden.items()]
        return LabelMap(array, first.grid, name=self.name, notes=(*self.notes, *notes), segments=segments)

    def each(self, change: Callable[[LabelMap], LabelMap]) -> Segmentation:
        """Return the segmentation with every layer changed in the same way, such as warped to another grid."""
        return Segmentation(tuple(change(layer) for layer in self.layers), self.name, self.notes)

    def warped(self, grid: Grid, transform: PointMap | None = None) -> Segmentation:
        """Return every layer on the grid, nearest neighbor."""
        return self.each(lambda layer: warp_labels(layer, grid, transform))


def is_slicer_segmentation(path: Pathlike) -> bool:
    """Return whether a file is a NRRD that lists segments, independent of its name."""
    return bool(_segment_facts(Path(path)))


def is_segmentation_object(path: Pathlike) -> bool:
    """Return whether a file is a DICOM segmentation object."""
    if not looks_like_dicom(Path(path)):
        return False
    from .dicom_segmentation import is_dicom_segmentation

    return is_dicom_segmentation(Path(path))


def read_labels(path: Pathlike, *, name: str | None = None) -> LabelMap:
    """Read a segmentation or mask.

    Segments of a Slicer segmentation (.seg.nrrd) keep their label values, names, colors and terminology; where they
    overlap, the later layer is used and noted. See `read_segmentation` for all layers.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the segmentation is not 3D or its axes are sheared.
    RegistrationError
        When it is a color image or contains values that are no labels.
    """
    return read_segmentation(path, name=name).flattened()


def read_segmentation(path: Pathlike, *, name: str | None = None) -> Segmentation:
    """Read a segmentation with all its layers; the same errors as `read_labels`."""
    source, title = Path(path), name or stem(path)
    facts = _segment_facts(source)
    if facts:
        return _slicer_segmentation(source, title, facts)
    if is_segmentation_object(source):
        return _dicom_segmentation(source, title)
    raw = read_raw(path)
    if raw.channels is not None:
        raise RegistrationError(
            f"{source.name} is a color or vector image, not a segmentation.",
            hint="Give a segmentation whose voxels hold label numbers.",
        )
    array, notes = _whole_labels(raw.array)
    return Segmentation((LabelMap(array, raw.grid, name=title, notes=(*raw.notes, *notes)),), title)


def _whole_labels(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Return labels as integers where scaling or rounding made them fractions, with a note."""
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return array, ()
    whole = np.rint(array)
    apart = float(np.abs(whole - array).max())
    if not 0 < apart <= ALMOST_WHOLE:
        return array, ()
    return whole, (f"Its values deviate from integers by up to {apart:.2g}; they are rounded.",)


def write_labels(labels: LabelMap | Segmentation, path: Pathlike) -> Path:
    """Write a label map or segmentation in the smallest integer type, compressed.

    NRRD files hold names, colors and terminology as Slicer's segmentations do, and every layer.

    Raises
    ------
    FileError
        When the file cannot be written, or is not an NRRD and the segments overlap.
    """
    layers = labels.layers if isinstance(labels, Segmentation) else (labels,)
    is_nrrd = str(path).lower().endswith(NRRD)
    if len(layers) > 1 and not is_nrrd:
        raise FileError(f"{Path(path).name} cannot hold segments that overlap.", hint="Use the ending .seg.nrrd.")
    kind = max(_label_type(layer) for layer in layers)
    if len(layers) == 1:
        image = sitk.Cast(to_sitk(layers[0]), kind)
    else:
        stacked = np.stack([layer.array for layer in layers], axis=-1)
        image = sitk.Cast(image_from_array(stacked, layers[0].grid, vector=True), _vector_type(kind))
    if is_nrrd and any(layer.names for layer in layers):
        for key, text in _facts_to_write(layers).items():
            image.SetMetaData(key, text)
    return write_image(image, path)


def matched_labels(fixed: LabelMap | None, moving: LabelMap | None) -> tuple[LabelMap | None, LabelMap | None]:
    """Return both segmentations with the same numbers for the same structures on both sides, see `common_numbers`.

    Without segments on either side (plain label maps) they are returned as they are. Notes of the moving one say
    what was matched how.
    """
    if fixed is None or moving is None or not (fixed.segments or moving.segments):
        return fixed, moving
    sides = [_structures(side) for side in (fixed, moving)]
    numbers = common_numbers(*sides)
    notes = _matching_notes(sides, (numbers.fixed, numbers.moving), numbers.by_value)
    own = _renumbered(fixed, sides[0], numbers.fixed)
    theirs = _renumbered(moving, sides[1], numbers.moving)
    return own, replace(theirs, notes=(*theirs.notes, *notes))


def _structures(labels: LabelMap) -> list[Structure]:
    values = sorted({*labels.segments, *labels.labels})
    return [Structure(labels.names.get(value, ""), value, value in labels.segments) for value in values]


def _renumbered(labels: LabelMap, structures: Sequence[Structure], numbers: Sequence[int]) -> LabelMap:
    old = [structure.value for structure in structures]
    if list(numbers) == old:
        return labels
    values = np.array([0, *old])
    order = np.argsort(values)
    place = np.searchsorted(values[order], labels.array)
    array = np.array([0, *numbers])[order][place]
    new = dict(zip(old, numbers, strict=True))
    names = {new.get(value, value): name for value, name in labels.names.items()}
    segments = {new.get(value, value): segment for value, segment in labels.segments.items()}
    return LabelMap(array, labels.grid, names, labels.name, labels.notes, segments)


def _matching_notes(
    sides: Sequence[Sequence[Structure]], numbers: Sequence[Sequence[int]], by_value: Sequence[tuple[int, int]]
) -> list[str]:
    notes = []
    fixed, moving = sides
    if by_value:
        listed = [f"{fixed[i].value} ({_called(fixed[i])} and {_called(moving[j])})" for i, j in by_value]
        notes.append(f"Matched to the fixed segmentation by label value, not by name: {_some(listed)}.")
    elif len(fixed) == len(moving) == 1 and fixed[0].name.casefold() != moving[0].name.casefold():
        notes.append(f"The only segments, {_called(fixed[0])} and {_called(moving[0])}, are taken as the same.")
    changed = [
        f"{one.value} is {number} ({one.name})"
        for one, number in zip(moving, numbers[1], strict=True)
        if one.value != number
    ]
    if changed:
        notes.append(f"Its labels are numbered as in the fixed segmentation: {_some(changed)}.")
    return notes


def _called(structure: Structure) -> str:
    return f"'{structure.name}'" if structure.name else "no name"


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:MOST_NAMED]) + (", …" if len(words) > MOST_NAMED else "")


def _segment_facts(path: Path) -> dict[str, str]:
    """Return the entries of an NRRD file about segments; empty when it is not a segmentation of Slicer."""
    if not path.name.lower().endswith(NRRD) or not path.is_file():
        return {}
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}  # the image reader reports the error
    keys = [key for key in reader.GetMetaDataKeys() if key.startswith("Segment")]
    return {key: _text(reader.GetMetaData(key)) for key in keys}


def _text(value: str) -> str:
    # SimpleITK hands on bytes that are no UTF-8 as surrogates.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _slicer_segmentation(path: Path, title: str, facts: Mapping[str, str]) -> Segmentation:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise FileError(f"{path.name} is cut off or damaged.", hint="Copy it again or save it again.") from error
    if image.GetDimension() != 3:
        raise FileError(
            f"{path.name} is a segmentation of {image.GetDimension()} dimensions, expected 3.",
            hint="Save one time point of it.",
        )
    grid = grid_of(image)
    values = sitk.GetArrayFromImage(image)
    arrays = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    listed = _listed_segments(path, facts, len(arrays))
    layers, notes = [], []
    for number, array in enumerate(arrays):
        segments = {value: segment for layer, value, segment in listed if layer == number}
        layers.append(LabelMap(array, grid, name=title, segments=segments))
        unknown = sorted(set(layers[-1].labels) - set(segments))
        if unknown:
            notes.append(f"The label(s) {_some([str(value) for value in unknown])} belong to no segment of the file.")
    if not listed:
        notes.append("The file lists no segment.")
    return Segmentation(tuple(layers), title, tuple(notes))


def _dicom_segmentation(path: Path, title: str) -> Segmentation:
    """Return a DICOM segmentation, each segment in the first layer where it overlaps with no other."""
    from .dicom_segmentation import read_dicom_segments

    grid, segments, notes = read_dicom_segments(path)
    arrays: list[np.ndarray] = []
    listed: list[dict[int, Segment]] = []
    for segment in segments:
        layer = next((n for n, array in enumerate(arrays) if not array[segment.mask].any()), len(arrays))
        if layer == len(arrays):
            arrays.append(np.zeros(grid.shape, np.int32))
            listed.append({})
        arrays[layer][segment.mask] = segment.number
        listed[layer][segment.number] = Segment(segment.name, segment.facts)
    layers = [LabelMap(array, grid, name=title, segments=own) for array, own in zip(arrays, listed, strict=True)]
    return Segmentation(tuple(layers), title, notes)


def _listed_segments(path: Path, facts: Mapping[str, str], layers: int) -> list[tuple[int, int, Segment]]:
    entries: dict[int, dict[str, str]] = {}
    for key, text in facts.items():
        match = ENTRY.fullmatch(key)
        if match:
            entries.setdefault(int(match[1]), {})[match[2]] = text
    listed: list[tuple[int, int, Segment]] = []
    for number, entry in sorted(entries.items()):
        # Files before Slicer 4.11 keep one segment a layer and name neither layer nor value.
        old = "LabelValue" not in entry
        layer = _whole(path, entry, "Layer", number if old and layers > 1 else 0)
        value = _whole(path, entry, "LabelValue", 1)
        name = entry.get("Name") or entry.get("ID") or f"Segment_{number + 1}"
        kept = {key: text for key, text in entry.items() if key not in OWN}
        if not 0 <= layer < layers or not 0 < value <= LABEL_RANGE.max:
            raise FileError(
                f"{path.name}: the segment '{name}' is said to be label {value} of layer {layer}, which is not there.",
                hint="Save the segmentation in Slicer again.",
            )
        if any((layer, value) == other[:2] for other in listed):
            raise FileError(
                f"{path.name}: two segments, '{name}' one of them, are said to be label {value} of layer {layer}.",
                hint="Save the segmentation in Slicer again.",
            )
        listed.append((layer, value, Segment(name, kept)))
    return listed


def _whole(path: Path, entry: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(entry.get(key, default))
    except ValueError as error:
        raise FileError(
            f"{path.name}: {key} of a segment is '{entry[key]}', expected an integer.",
            hint="Save the segmentation in Slicer again.",
        ) from error


def _facts_to_write(layers: Sequence[LabelMap]) -> dict[str, str]:
    facts = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    size = layers[0].grid.size
    entries = [(number, value, layer) for number, layer in enumerate(layers) for value in sorted(layer.names)]
    for place, (number, value, layer) in enumerate(entries):
        own = {
            "ID": f"Segment_{place + 1}",
            **(layer.segments[value].facts if value in layer.segments else {}),
            "Name": layer.names[value],
            "LabelValue": str(value),
            "Layer": str(number),
            "Extent": f"0 {size[0] - 1} 0 {size[1] - 1} 0 {size[2] - 1}",
        }
        facts |= {f"Segment{place}_{key}": text for key, text in own.items()}
    return facts


def _label_type(labels: LabelMap) -> int:
    low, high = int(labels.array.min()), int(labels.array.max())
    if low < 0:
        return int(sitk.sitkInt32)
    return int(sitk.sitkUInt8 if high < 256 else sitk.sitkUInt16 if high < 65536 else sitk.sitkInt32)


def _vector_type(kind: int) -> int:
    return {
        int(sitk.sitkUInt8): int(sitk.sitkVectorUInt8),
        int(sitk.sitkUInt16): int(sitk.sitkVectorUInt16),
        int(sitk.sitkInt32): int(sitk.sitkVectorInt32),
    }[kind]
