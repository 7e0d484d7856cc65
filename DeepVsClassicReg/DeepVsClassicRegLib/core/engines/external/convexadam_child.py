"""Runs the convexAdam package on a job folder: job.json, fixed.npy and moving.npy in, field.npy out.

With `compared.npy` (1 where the volumes are compared, else 0) both steps of the package compare features only there;
its own masks only continue the features beyond the mask, where they are still compared.

Run as `python -m DeepVsClassicRegLib.core.engines.external.convexadam_child FOLDER`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...files import read_json

# Cost of a displacement of one block, so that blocks that are not compared do not move on their own.
TIE = 1e-6


def main(folder: Path) -> int:
    """Run one registration; return the exit status."""
    import torch
    from convexAdam import convex_adam_MIND

    job = read_json(folder / "job.json")
    torch.set_num_threads(job["threads"])
    if (folder / "compared.npy").is_file():
        compared = torch.from_numpy(np.load(folder / "compared.npy")).to(torch.device(job["device"]))
        restrict(convex_adam_MIND, compared, job["grid_vox"], job["fine_grid_vox"])
    _say("MIND features")
    for name, title in (("correlate", "search"), ("coupled_convex", "coupling")):
        setattr(convex_adam_MIND, name, _announced(getattr(convex_adam_MIND, name), title))
    _report_losses(torch)
    displacements = convex_adam_MIND.convex_adam_pt(
        np.load(folder / "fixed.npy"),
        np.load(folder / "moving.npy"),
        mind_r=job["radius_vox"],
        mind_d=job["dilation_vox"],
        lambda_weight=job["weight"],
        grid_sp=job["grid_vox"],
        disp_hw=job["reach_blocks"],
        selected_niter=job["iterations"],
        selected_smooth=job["final_smoothing"],
        grid_sp_adam=job["fine_grid_vox"],
        ic=job["consistent"],
        # Half precision, the package's choice on a GPU, rounds displacements beyond 16 voxels to 1/64 voxel.
        dtype=torch.float32,
        device=torch.device(job["device"]),
    )
    np.save(folder / "field.npy", np.moveaxis(displacements, -1, 0).astype(np.float32))
    return 0


def restrict(package: Any, compared: Any, block: int, patch: int) -> None:
    """Restrict the features' differences in the search and in the refinement to a region.

    Parameters
    ----------
    package : module
        `convexAdam.convex_adam_MIND`; its functions are replaced.
    compared : (X, Y, Z) float tensor
        1 where the volumes are compared, else 0; axes and voxels of the package's volumes.
    block, patch : int
        Voxels of a block of the search and of the refinement.
    """
    from torch.nn import functional

    weight = functional.avg_pool3d(compared[None, None], block, stride=block)
    fine = functional.avg_pool3d(compared[None, None], patch, stride=patch).sqrt()
    extract = package.extract_features
    fixed: list[Any] = []

    def extracted(**options: Any) -> Any:
        features = extract(**options)
        fixed[:] = [functional.avg_pool3d(features[0], patch, stride=patch)]
        return features

    def correlate(first: Any, second: Any, reach: int, *unused: Any) -> Any:
        return weighted_cost(first, second, weight, reach)

    class Functions:
        """torch.nn.functional for the refinement, which samples the moving features once per iteration."""

        def __getattr__(self, name: str) -> Any:
            return getattr(functional, name)

        @staticmethod
        def grid_sample(*arguments: Any, **options: Any) -> Any:
            """Return the sampled features; where nothing is compared they equal the fixed features."""
            return fixed[0] + fine * (functional.grid_sample(*arguments, **options) - fixed[0])

    package.extract_features, package.correlate, package.F = extracted, correlate, Functions()


def weighted_cost(fixed: Any, moving: Any, weight: Any, reach: int) -> tuple[Any, Any]:
    """Return the smoothed squared differences for all displacements in blocks, and the best displacement of each block.

    The same as `correlate` of the package where the weight is 1.

    Parameters
    ----------
    fixed, moving : (1, C, X, Y, Z) tensors
        Features of the blocks.
    weight : (1, 1, X, Y, Z) tensor
        Compared fraction of each block.
    reach : int
        Largest displacement along each axis, in blocks.

    Returns
    -------
    cost : ((2 reach + 1)**3, X, Y, Z) tensor
        The displacement along x changes fastest.
    best : (X, Y, Z) integer tensor
        Where nothing is compared nearby, the displacement 0.
    """
    import torch
    from torch.nn.functional import avg_pool3d, pad

    shape = fixed.shape[2:]
    wide = pad(moving, (reach,) * 6)
    costs = []
    for z, y, x in itertools.product(range(2 * reach + 1), repeat=3):
        shifted = wide[:, :, x : x + shape[0], y : y + shape[1], z : z + shape[2]]
        cost = weight * (fixed - shifted).pow(2).sum(1, keepdim=True)
        for _ in range(2):
            cost = avg_pool3d(cost, 3, stride=1, padding=1)
        costs.append(cost[0, 0] + TIE * sum((part - reach) ** 2 for part in (x, y, z)))
    stacked = torch.stack(costs)
    return stacked, torch.argmin(stacked, 0)


def _announced(function: Callable[..., Any], title: str) -> Callable[..., Any]:
    """Return the function with a line printed before it starts."""

    def call(*arguments: Any, **options: Any) -> Any:
        _say(title)
        return function(*arguments, **options)

    return call


def _say(title: str) -> None:
    sys.stdout.write(f"STAGE {title}\n")


def _report_losses(torch: Any) -> None:
    """Print every differentiated loss, because the package prints none; only this short-lived process is changed."""
    plain = torch.Tensor.backward
    done = 0

    def backward(loss: Any, *arguments: Any, **options: Any) -> None:
        nonlocal done
        done += 1
        sys.stdout.write(f"ITERATION {done} LOSS {float(loss.detach()):.6g}\n")
        plain(loss, *arguments, **options)

    torch.Tensor.backward = backward


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
