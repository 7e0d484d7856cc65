"""ITK transform files (.h5), small or written fast; ITK, SimpleITK, ANTs and Slicer read them as those that ITK writes.

ITK stores every parameter as a double and, as SimpleITK calls it, without compression: 120 MB for the displacements of
a 1 mm brain. Here displacements are stored as the 32-bit numbers they are, for files that are kept with HDF5's filters
'shuffle' and 'deflate', which every HDF5 library has.
"""

from __future__ import annotations

import importlib.util
import io
import platform
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .transform import Affine, DisplacementField, Transform

CHUNK = 1 << 18  # numbers
LEVEL = 1  # of deflate: higher levels take several times as long and save a few percent


def can_compress() -> bool:
    """Return whether h5py is installed, without importing it."""
    return importlib.util.find_spec("h5py") is not None


def write_hdf5(transform: Transform, path: Path, *, compress: bool = True) -> None:
    """Write a transform of affine parts, displacement fields and B-splines.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    path : Path
        The file to write.
    compress : bool
        Whether long parameters are compressed, which takes most of the time.

    Raises
    ------
    OSError
        When it cannot be written.

    References
    ----------
    The layout is that of `itk::HDF5TransformIO` (Modules/IO/TransformHDF5).
    """
    import h5py

    content = io.BytesIO()  # on a full disk the HDF5 library crashes while it closes a file
    with h5py.File(content, "w", libver=("earliest", "v108")) as file:
        text = h5py.string_dtype("ascii")
        for name, value in (
            ("ITKVersion", sitk.Version.ITKVersionString()),
            ("HDFVersion", h5py.version.hdf5_version),
            ("OSName", platform.system()),
            ("OSVersion", platform.release()),
        ):
            file.create_dataset(name, data=[value], dtype=text)
        _add(file, 0, "CompositeTransform", text)
        # A composite of ITK applies its last transform first.
        for number, part in enumerate(reversed(transform.parts or (Affine.identity(),)), start=1):
            if isinstance(part, DisplacementField):
                grid = part.grid
                fixed = [*grid.size, *grid.origin_mm, *grid.spacing_mm, *grid.direction]
                _add(
                    file,
                    number,
                    "DisplacementFieldTransform",
                    text,
                    fixed,
                    part.array_mm.reshape(-1),
                    compress=compress,
                )
            else:
                mapping = part.to_sitk()
                numbers = np.asarray(mapping.GetParameters(), dtype=np.float64)
                _add(file, number, mapping.GetName(), text, mapping.GetFixedParameters(), numbers, compress=compress)
    path.write_bytes(content.getbuffer())


def _add(
    file: Any,
    number: int,
    kind: str,
    text: Any,
    fixed: npt.ArrayLike | None = None,
    parameters: npt.NDArray[np.floating] | None = None,
    *,
    compress: bool = True,
) -> None:
    group = file.create_group(f"TransformGroup/{number}")
    group.create_dataset("TransformType", data=[f"{kind}_double_3_3"], dtype=text)
    if parameters is None:
        return
    group.create_dataset("TransformFixedParameters", data=np.asarray(fixed, dtype=np.float64))
    if len(parameters) <= CHUNK or not compress:
        group.create_dataset("TransformParameters", data=parameters)
        return
    data = group.create_dataset(
        "TransformParameters",
        shape=parameters.shape,
        dtype=parameters.dtype,
        chunks=(CHUNK,),
        shuffle=True,
        compression="gzip",
        compression_opts=LEVEL,
    )
    # HDF5 itself compresses one chunk at a time.
    starts = range(0, len(parameters), CHUNK)
    with ThreadPoolExecutor(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) as pool:
        for start, packed in zip(starts, pool.map(partial(_packed, parameters), starts), strict=True):
            data.id.write_direct_chunk((start,), packed)


def _packed(numbers: npt.NDArray[np.floating], start: int) -> bytes:
    """Return a chunk as HDF5's filters 'shuffle' (first bytes of all numbers, second bytes ...) and 'deflate' do."""
    chunk = np.zeros(CHUNK, dtype=numbers.dtype)
    part = numbers[start : start + CHUNK]
    chunk[: len(part)] = part
    shuffled = chunk.view(np.uint8).reshape(CHUNK, -1).T
    return zlib.compress(shuffled.tobytes(), LEVEL)
