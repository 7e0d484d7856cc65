"""The pairs of the benchmarks of speed: a hippocampus crop, a 1 mm brain, and a generated large CT."""

from __future__ import annotations

import tempfile
from pathlib import Path

CASES = ("hippocampus", "brain", "ct")
CT_SIZE = (512, 512, 400)


def case_inputs(case: str, data: Path) -> dict[str, Path]:
    """Return option of `dvcreg register` -> file of a case; `data` is the folder of the benchmark volumes."""
    if case == "ct":
        return _generated(CT_SIZE)
    if case == "brain":
        folder, fixed, moving, image, labels = data / "visible/brain_malf_oasis", "1101", "1003", "t1", "fs"
    else:
        folder, fixed, moving = data / "visible/hippocampus_msd", "hippocampus_014", "hippocampus_015"
        image, labels = "t1", "label"
    return {
        "fixed": folder / f"{fixed}_{image}.nii.gz",
        "moving": folder / f"{moving}_{image}.nii.gz",
        "fixed-seg": folder / f"{fixed}_{labels}.nii.gz",
        "moving-seg": folder / f"{moving}_{labels}.nii.gz",
    }


def _generated(size: tuple[int, int, int]) -> dict[str, Path]:
    """Write a body-like pair with ten structures once, and return its files."""
    import numpy as np
    import SimpleITK as sitk

    folder = Path(tempfile.gettempdir()) / "dvcreg-speed-ct"
    files = {role: folder / f"{role}.nii.gz" for role in ("fixed", "moving", "fixed-seg", "moving-seg")}
    if all(path.is_file() for path in files.values()):
        return files
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in size[::-1]), indexing="ij", sparse=True)
    centers, radii = random.uniform(-0.5, 0.5, (10, 3)), random.uniform(0.1, 0.22, 10)
    texture = random.standard_normal((24, 30, 30)).astype(np.float32)
    texture_image = sitk.GetImageFromArray(texture)
    fine = sitk.GetArrayFromImage(
        sitk.Resample(
            texture_image,
            size,
            sitk.Transform(3, sitk.sitkIdentity),
            sitk.sitkBSpline,
            (0, 0, 0),
            [(n - 1) / (m - 1) for n, m in zip(texture.shape[::-1], size, strict=True)],
        )
    )
    for side, shift in (("fixed", 0.0), ("moving", 0.03)):
        inside = (x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 1.2) ** 2 < 1
        image = np.where(inside, 40 + 30 * fine, -1000).astype(np.int16)
        labels = np.zeros(image.shape, dtype=np.uint8)
        for number, (center, radius) in enumerate(zip(centers, radii, strict=True), start=1):
            near = (x - center[0] - shift) ** 2 + (y - center[1]) ** 2 + (z - center[2] + shift) ** 2 < radius**2
            near &= inside
            labels[near] = number
            image[near] += np.int16(40 * (number % 5) - 80)
        for name, array in ((side, image), (f"{side}-seg", labels)):
            written = sitk.GetImageFromArray(array)
            written.SetSpacing((0.8, 0.8, 1.0))
            sitk.WriteImage(written, str(files[name]), useCompression=True, compressionLevel=1)
    return files
