"""Headers of NIfTI, FreeSurfer, NRRD and MetaImage: read as nibabel and SimpleITK read them, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.volume import Volume

from . import Call, Case, Gives, Refused, Run

SIZE = (9, 10, 11)
VALUES = np.random.default_rng(0).integers(1, 100, SIZE)
OBLIQUE = np.array([[1.8, 0.3, -0.2, -7], [-0.25, 2.1, 0.4, 11], [0.2, -0.45, 2.6, 5], [0, 0, 0, 1.0]])
EXACT = 1e-3  # mm and gray values


def rotation() -> np.ndarray:
    """Return the nearest rotation to an oblique matrix, voxels of 2 x 1.5 x 3 mm and an origin, RAS."""
    u, _, vt = np.linalg.svd(OBLIQUE[:3, :3])
    matrix = OBLIQUE.copy()
    matrix[:3, :3] = (u @ vt) * [2.0, 1.5, 3.0]
    return matrix


def image(
    affine: np.ndarray | None = None, values: np.ndarray = VALUES, dtype: Any = np.float32, kind: Any = nib.Nifti1Image
) -> Any:
    """Return a nibabel image with both form codes set."""
    more = {} if kind is nib.MGHImage else {"dtype": dtype}
    made = kind(values.astype(dtype), rotation() if affine is None else affine, **more)
    if kind is not nib.MGHImage:
        made.header.set_xyzt_units("mm")
        made.set_sform(made.affine, 1)
        made.set_qform(made.affine, 1)
    return made


def apart(volume: Volume, path: Path) -> float:
    """Return how far a volume is from what nibabel reads: largest difference of corners in mm, or of values."""
    theirs = nib.load(path)
    values = np.asarray(theirs.get_fdata()).reshape(theirs.shape[:3])
    corners = np.array(list(itertools.product(*((0, n - 1) for n in values.shape))), float)
    ras = nib.affines.apply_affine(theirs.affine, corners)
    places = np.abs(volume.grid.index_to_point(corners) - ras * [-1, -1, 1]).max()
    return float(max(places, np.abs(volume.array.transpose(2, 1, 0) - values).max()))


def read(path: Path) -> Volume:
    """Read a volume; the case adds its notes to what was said."""
    return read_volume(path)


def saved(make: Callable[[], Any], name: str = "image.nii.gz") -> Callable[[Path], Call]:
    """Return a `build` that saves a nibabel image and reads it."""

    def build(folder: Path) -> Call:
        nib.save(make(), folder / name)
        return partial(read, folder / name)

    return build


def as_nibabel(name: str = "image.nii.gz", **more: Any) -> Gives:
    """Expect what nibabel reads, in space and in values."""
    return Gives(0.0, EXACT, read=lambda run: apart(run.value, run.folder / name), **more)


def same(name: str, make: Callable[[], Any], file: str = "image.nii.gz", **more: Any) -> Case:
    """Return a case that is read as nibabel reads it."""
    return Case("B", name, saved(make, file), as_nibabel(file, **more))


def refused(name: str, make: Callable[[], Any], error: type[RegistrationError], *words: str) -> Case:
    """Return a case that is refused."""
    return Case("B", name, saved(make), Refused(error, *words))


def edited(make: Callable[[], Any], **fields: Any) -> Callable[[], Any]:
    """Return a maker of an image with fields of its header set to what they should not be."""

    def edit() -> Any:
        made = make()
        for name, value in fields.items():
            made.header[name] = value
        return made

    return edit


def with_header(made: Any) -> Any:
    """Return the image with its header as it is, which nibabel would correct when saving."""
    return nib.Nifti1Image(np.asarray(made.dataobj), None, made.header)


def coded(qform: int, sform: int, **changes: Any) -> Any:
    """Return an image with these form codes; `shift_mm` moves its qform."""
    made = image()
    other = made.affine.copy()
    other[:3, 3] += changes.get("shift_mm", 0.0)
    made.header.set_qform(other, qform)
    made.header.set_sform(made.affine, sform)
    return with_header(made)


def cut(name: str, tenths: int, write: Callable[[Path], None]) -> Callable[[Path], Call]:
    """Return a `build` that keeps only the first tenths of a file."""

    def build(folder: Path) -> Call:
        whole = folder / f"whole_{name}"
        write(whole)
        content = whole.read_bytes()
        (folder / name).write_bytes(content[: len(content) * tenths // 10])
        return partial(read, folder / name)

    return build


def _by_nibabel(path: Path) -> None:
    nib.save(image(), path)


def _by_itk(path: Path) -> None:
    made = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32))
    sitk.WriteImage(made, str(path), useCompression=path.suffix == ".nrrd")


def damaged(seed: int) -> Callable[[Path], Call]:
    """Return a `build` that overwrites four bytes of a NIfTI header, and tells what became of it."""

    def build(folder: Path) -> Call:
        random = np.random.default_rng(seed)
        path = folder / "damaged.nii"
        nib.save(image(), path)
        content = bytearray(path.read_bytes())
        place = int(random.choice(np.r_[0:4, 40:56, 70:74, 76:123, 252:344]))
        content[place : place + 4] = random.bytes(4)
        path.write_bytes(content)

        def run() -> str:
            try:
                ours = read(path)
            except RegistrationError:
                return "fine"
            try:
                wrong = apart(ours, path)
            except Exception as error:  # nibabel has many ways to fail
                return f"read, where nibabel fails: {error!r}; notes {ours.notes}" if not ours.notes else "fine"
            return "fine" if wrong < EXACT or ours.notes else f"differs from nibabel by {wrong:g}, and nothing is said"

        return run

    return build


def axes() -> list[Case]:
    """Return one case for each of the 48 orders and directions of the axes."""
    cases = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.eye(4)
            matrix[:3, :3] = np.eye(3)[:, order] * signs * [2.0, 1.5, 3.0]
            matrix[:3, 3] = [-12.0, 7.0, 3.0]
            name = "".join(nib.aff2axcodes(matrix))
            cases.append(same(f"axes {name}", partial(image, matrix)))
    return cases


def _random(seed: int) -> np.ndarray:
    """Return a random oblique matrix, left-handed for odd seeds."""
    random = np.random.default_rng(seed)
    q, _ = np.linalg.qr(random.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q)) * (-1 if seed % 2 else 1)
    matrix = np.eye(4)
    matrix[:3, :3] = q * random.uniform(0.3, 4, 3)
    matrix[:3, 3] = random.normal(0, 100, 3)
    return matrix


def _sheared() -> Any:
    made = image()
    matrix = made.affine.copy()
    matrix[0, 1] += 0.4
    made.header.set_sform(matrix, 1)
    made.header.set_qform(None, 0)
    return with_header(made)


def _rounded() -> Any:
    made = image(
        nib.affines.from_matvec(np.round(rotation()[:3, :3] / [2.0, 1.5, 3.0], 3) * [2.0, 1.5, 3.0], [1, 2, 3])
    )
    made.header.set_qform(None, 0)
    return with_header(made)


def _holed(value: float) -> Any:
    values = VALUES.astype(np.float32)
    values[1, 2, 3] = value
    return image(values=values)


def _sloped() -> Any:
    made = image(dtype=np.int16)
    made.header.set_slope_inter(0.25, -7)
    return made


def _units(code: int) -> Any:
    made = image()
    made.header["xyzt_units"] = code
    return made


def _spacing(run: Run) -> list[float]:
    return [float(value) for value in run.value.grid.spacing_mm]


def shape_of(run: Run) -> list[int]:
    """Return the lengths of the axes of a volume."""
    return list(run.value.array.shape)


def spaced(x: float, y: float, z: float, note: str) -> Gives:
    """Expect a spacing and a note."""
    return Gives([x, y, z], 1e-5 * x, read=_spacing, notes=[note])


def _other_end() -> Any:
    made = nib.Nifti1Image(VALUES.astype(">i2"), rotation(), nib.Nifti1Header(endianness=">"))
    made.set_sform(rotation(), 1)
    return made


TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
CASES = [
    *axes(),
    *(same(f"random oblique axes {seed}", partial(image, _random(seed))) for seed in range(10)),
    *(same(f"voxels of type {kind.__name__}", partial(image, dtype=kind)) for kind in TYPES),
    refused("complex voxels, 64 bit", partial(image, dtype=np.complex64), RegistrationError, "complex", "magnitude"),
    refused("complex voxels, 128 bit", partial(image, dtype=np.complex128), RegistrationError, "complex"),
    Case(
        "B",
        "RGB voxels",
        saved(lambda: nib.Nifti1Image(np.zeros(SIZE, RGB), np.eye(4))),
        Gives(list(SIZE[::-1]), read=shape_of, notes=["luminance"]),
    ),
    same("slope and intercept", _sloped),
    same("big-endian", _other_end, "image.nii"),
    same("NIfTI-2", partial(image, kind=nib.Nifti2Image)),
    same("NIfTI pair .hdr and .img", partial(image, kind=nib.Nifti1Pair), "image.img"),
    same("FreeSurfer .mgz", partial(image, kind=nib.MGHImage), "image.mgz"),
    same("both form codes 0", partial(coded, 0, 0), notes=["states no orientation", "left and right"]),
    same("qform only", partial(coded, 1, 0)),
    same("sform only", partial(coded, 0, 1)),
    same("sform and qform 5 mm apart", partial(coded, 1, 1, shift_mm=5.0), notes=["disagree", "sform is used"]),
    same("sform of MNI, qform of the scanner", partial(coded, 1, 4, shift_mm=5.0), notes=["disagree"]),
    Case("B", "cosines rounded to three decimals", saved(_rounded), Gives([2.0, 1.5, 3.0], 0.005, read=_spacing)),
    refused("sheared axes", _sheared, GeometryError, "sheared"),
    *(
        Case(
            "B",
            f"a voxel of {'minus ' * (value < 0)}{abs(value)}",
            saved(partial(_holed, value)),
            Gives(1, read=_missing, notes=["NaN or Inf"]),
        )
        for _missing in [lambda run: int((~run.value.valid).sum())]
        for value in (np.nan, np.inf, -np.inf)
    ),
    Case(
        "B",
        "lengths in meters",
        saved(partial(_units, 1)),
        Gives([2000.0, 1500.0, 3000.0], 0.1, read=_spacing, notes=["meters"]),
    ),
    Case(
        "B",
        "lengths in micrometers",
        saved(partial(_units, 3)),
        Gives([0.002, 0.0015, 0.003], 1e-6, read=_spacing, notes=["micrometers"]),
    ),
    same("unit of length not stated", partial(_units, 0)),
    same("unit of length not defined", partial(_units, 5), notes=["not defined"]),
    same("4D with one frame", lambda: image(values=VALUES[..., None])),
    refused("4D with three frames", lambda: image(values=np.stack([VALUES] * 3, -1)), GeometryError, "4 dimensions"),
    Case(
        "B",
        "2D",
        saved(lambda: image(values=VALUES[:, :, 0])),
        Gives([1, *SIZE[1::-1]], read=shape_of, notes=["read as one slice"]),
    ),
    refused(
        "5D vector image", lambda: image(values=np.stack([VALUES] * 3, -1)[:, :, :, None]), RegistrationError, "vector"
    ),
    *(
        Case("B", f"NIfTI cut at {10 * n} %", cut("image.nii", n, _by_nibabel), Refused(FileError, "image.nii"))
        for n in range(10)
    ),
    *(
        Case(
            "B",
            f"packed NIfTI cut at {10 * n} %",
            cut("image.nii.gz", n, _by_nibabel),
            Refused(FileError, "image.nii.gz"),
        )
        for n in range(10)
    ),
    *(
        Case("B", f"NRRD cut at {10 * n} %", cut("image.nrrd", n, _by_itk), Refused(FileError, "image.nrrd"))
        for n in range(0, 10, 3)
    ),
    *(
        Case("B", f"MetaImage cut at {10 * n} %", cut("image.mha", n, _by_itk), Refused(FileError, "image.mha"))
        for n in range(0, 10, 3)
    ),
    *(Case("B", f"four bytes of the header damaged, {seed}", damaged(seed), Gives("fine")) for seed in range(30)),
]
