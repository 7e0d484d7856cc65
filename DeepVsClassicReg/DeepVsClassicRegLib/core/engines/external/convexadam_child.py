"""Runs the convexAdam package on a job folder: job.json, fixed.npy and moving.npy in, field.npy out.

Run as `python -m DeepVsClassicRegLib.core.engines.external.convexadam_child FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...files import read_json


def main(folder: Path) -> int:
    """Run one registration; return the exit status."""
    import torch
    from convexAdam import convex_adam_MIND

    job = read_json(folder / "job.json")
    torch.set_num_threads(job["threads"])
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
