"""NIfTI files for tests whose voxels hold the true value of their place, and changes of their bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from DeepVsClassicRegLib.core.images.io import read_volume
from faults import Call, Gives, Run

SIZE = (12, 10, 8)
AFFINE = np.array([[-1.4, 0.3, 0.1, 20.0], [0.3, 1.4, 0.0, -30.0], [-0.1, 0.03, 3.0, -40.0], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * [1.5, 2.0, 3.0] * np.sign(np.diag(np.linalg.qr(AFFINE[:3, :3])[1]))
INDEX = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"), axis=-1)


def values(points_lps: np.ndarray) -> np.ndarray:
    """Return numbers that vary linearly in the patient, so that any place tells its true value."""
    return 100 + points_lps @ [0.2, 0.4, 1.0]


def stored(affine: np.ndarray = AFFINE, unit_mm: float = 1.0) -> np.ndarray:
    """Return the true values of the voxels of an image with this matrix to RAS (in its unit)."""
    ras = (INDEX @ affine[:3, :3].T + affine[:3, 3]) * unit_mm
    return values(ras * [-1, -1, 1])


def misplaced(run: Run) -> float:
    """Return the largest difference of any voxel from the true value of its place."""
    return float(np.abs(run.value.array - values(run.value.grid.points())).max())


def true(*notes: str, tolerance: float = 1e-3) -> Gives:
    """Expect every voxel to hold the value of its place."""
    return Gives(0.0, tolerance, read=misplaced, notes=notes, silent=() if notes else ("note",))


def first(truth: float, *notes: str, tolerance: float = 1e-4) -> Gives:
    """Expect a value in the first voxel."""
    return Gives(truth, tolerance, read=lambda run: float(run.value.array[0, 0, 0]), notes=notes)


def image(array: np.ndarray | None = None, affine: Any = AFFINE, *, kind: Any = nib.Nifti1Image, **header: Any) -> Any:
    """Return an image with some header fields changed."""
    found = kind((stored() if array is None else array).astype(np.float32 if array is None else array.dtype), affine)
    for name, value in header.items():
        found.header[name] = value
    return found


def reads(
    make: Callable[[], Any], name: str = "a.nii.gz", *, patch: Callable[[bytearray], Any] | None = None
) -> Callable[[Path], Call]:
    """Return a `build` that saves an image, changes its bytes, and reads it."""

    def build(folder: Path) -> Call:
        nib.save(make(), folder / name)
        if patch is not None:
            path = folder / name
            content = bytearray(gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes())
            content = patch(content) or content
            path.write_bytes(gzip.compress(bytes(content)) if name.endswith("gz") else bytes(content))
        return lambda: read_volume(folder / name)

    return build


def put(offset: int, kind: str, *numbers: float) -> Callable[[bytearray], None]:
    """Return a change of header bytes."""

    def patch(content: bytearray) -> None:
        data = np.array(numbers, kind).tobytes()
        content[offset : offset + len(data)] = data

    return patch


def packed(change: Callable[[bytes], bytes], name: str = "a.nii.gz") -> Callable[[Path], Call]:
    """Return a `build` that changes the bytes of the file as it lies on the disk."""

    def build(folder: Path) -> Call:
        nib.save(image(), folder / name)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        return lambda: read_volume(folder / name)

    return build


def two_forms(code: int = 1) -> Any:
    other = AFFINE.copy()
    other[:3, 3] += 25
    found = image()
    found.set_sform(AFFINE, code)
    found.set_qform(other, 1)
    return found
