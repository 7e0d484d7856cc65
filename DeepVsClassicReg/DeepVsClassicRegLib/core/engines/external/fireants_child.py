"""Runs the fireants package on a job folder: job.json, fixed.mha and moving.mha in, field.npy out.

Run as `python -m DeepVsClassicRegLib.core.engines.external.fireants_child FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...files import read_json


class _Levels:
    """Replaces the progress bar of the package: one per level, with one printed line per iteration."""

    count = 0
    planned = 0

    def __init__(self, iterations: range) -> None:
        self.level, self.iterations, self.number = _Levels.count, iterations, 0
        _Levels.count += 1

    def __iter__(self) -> Iterator[int]:
        for number in self.iterations:
            self.number = number
            yield number

    def set_description(self, text: str) -> None:
        """Print the loss of the package, unless it inverts a warp after the last level."""
        if self.level >= _Levels.planned:
            return
        loss = text.rpartition("loss:")[2].strip()
        sys.stdout.write(f"LEVEL {self.level} ITERATION {self.number + 1} LOSS {loss}\n")


def main(folder: Path) -> int:
    """Run one registration; return the exit status."""
    import torch
    from fireants.io.image import BatchedImages, Image
    from fireants.registration import greedy, syn

    job = read_json(folder / "job.json")
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    fixed, moving = (
        BatchedImages([Image.load_file(str(folder / f"{name}.mha"), device=job["device"])])
        for name in ("fixed", "moving")
    )
    for module in (greedy, syn):
        setattr(module, "tqdm", _Levels)  # noqa: B010 - mypy knows no such attribute
    _Levels.planned = len(job["scales"])
    affine = torch.tensor(job["affine"], dtype=torch.float32, device=job["device"])[None]
    kind = greedy.GreedyRegistration if job["mode"] == "greedy" else syn.SyNRegistration
    registration = kind(
        scales=job["scales"],
        iterations=job["iterations"],
        fixed_images=fixed,
        moving_images=moving,
        loss_type=job["metric"],
        cc_kernel_size=job["kernel_vox"],
        deformation_type="compositive",
        optimizer="Adam",
        optimizer_lr=job["learning_rate"],
        optimizer_params={"beta1": job["beta1"]},
        smooth_grad_sigma=job["gradient_sigma_vox"],
        smooth_warp_sigma=job["warp_sigma_vox"],
        init_affine=affine,
    )
    registration.optimize()
    with torch.no_grad():
        coordinates = registration.get_warped_coordinates(fixed, moving)
        points = _points(coordinates, moving.get_torch2phy())
        rest = torch.linalg.inv(affine.double())[0]
        back = points @ rest[:3, :3].T + rest[:3, 3]
        own = _points(_regular(coordinates), fixed.get_torch2phy())
        field = (back - own)[0]
    np.save(folder / "field.npy", field.cpu().numpy().astype(np.float32))
    return 0


def _points(coordinates: Any, matrix: Any) -> Any:
    """Return LPS mm of normalized coordinates (x, y, z), shape (1, Z, Y, X, 3)."""
    full = matrix[0].double()
    return coordinates.double() @ full[:3, :3].T + full[:3, 3]


def _regular(like: Any) -> Any:
    import torch

    axes = [torch.linspace(-1, 1, n, dtype=torch.float64, device=like.device) for n in like.shape[1:4]]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)[None]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
