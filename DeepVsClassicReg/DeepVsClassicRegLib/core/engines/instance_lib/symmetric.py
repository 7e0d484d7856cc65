"""Both directions of one registration, made consistent: each is averaged with the inverse of the other."""

from __future__ import annotations

import dataclasses

import numpy as np

from .backend import NUMBA, Backend
from .problem import Problem
from .schedule import Field

ITERATIONS = 30
TOLERANCE_VOX = 0.01
# Where a point leaves the box there is no inverse; what is left there does not shrink, so a standstill ends it too.
STANDSTILL = 0.97


def swapped(problem: Problem) -> Problem:
    """Return the problem with fixed and moving exchanged, on the same lattice."""
    return dataclasses.replace(
        problem,
        fixed=problem.moving,
        moving=problem.fixed,
        fixed_mask=problem.moving_mask,
        moving_mask=problem.fixed_mask,
    )


def consistent(forward: Field, backward: Field, backend: Backend) -> tuple[Field, Field]:
    """Return both fields, each the mean of itself and the inverse of the other (voxels of one lattice)."""
    inverse_of_backward = inverted(backward, backend)
    inverse_of_forward = inverted(forward, backend)
    half = np.float32(0.5)
    return half * (forward + inverse_of_backward), half * (backward + inverse_of_forward)


def inverted(u: Field, backend: Backend, *, tolerance_vox: float = TOLERANCE_VOX) -> Field:
    """Return v with u(x + v(x)) = -v(x), by fixed-point iteration, to this error at most points.

    References
    ----------
    Chen et al., Med. Phys. 35:81-88, 2008, doi 10.1118/1.2816107.
    """
    v = -u
    before = np.inf
    for _ in range(ITERATIONS):
        through = composed(v, u, backend)
        # through = v + u(x + v); it is 0 when v is the inverse. Short steps converge where full ones swing.
        v -= np.float32(0.8) * through
        missed = float(np.abs(through).mean())
        if missed < tolerance_vox / 4 or missed > STANDSTILL * before:
            break
        before = missed
    return v


def composed(first: Field, second: Field, backend: Backend) -> Field:
    """Return first(x) + second(x + first(x))."""
    if backend.kind == NUMBA:
        from .numba_sampling import compose

        rows = np.zeros((*first.shape[1:3], 2), np.int64)
        rows[..., 1] = first.shape[3]
        out = np.empty_like(first)
        compose(np.ascontiguousarray(first), np.ascontiguousarray(second), rows, out)
        return out
    from .torch_sampling import compose as torch_compose
    from .torch_terms import as_tensor

    moved = torch_compose(as_tensor(first[None], backend.device), as_tensor(second[None], backend.device))
    return np.asarray(moved[0].cpu().numpy())
