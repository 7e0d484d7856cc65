"""Determinants of the one-sided differences of a field, in numba."""

from __future__ import annotations

from typing import Any

import numba as nb

from ..numba_setup import F32, JIT, use_user_cache

use_user_cache()  # numba sets the cache folder when a function is decorated


@nb.njit(parallel=True, **JIT)
def smallest_determinants(u: Any, out: Any) -> None:
    """Write the smallest of the eight one-sided determinants of x + u(x) at every node."""
    zs, ys, xs = out.shape
    for plane in nb.prange(zs):
        z = nb.int64(plane)
        for y in range(ys):
            for x in range(xs):
                smallest = F32(1e30)
                for sz in range(2):
                    z0, z1 = _step(z, sz, zs)
                    a0 = u[0, z1, y, x] - u[0, z0, y, x] + F32(1)
                    a1 = u[1, z1, y, x] - u[1, z0, y, x]
                    a2 = u[2, z1, y, x] - u[2, z0, y, x]
                    for sy in range(2):
                        y0, y1 = _step(y, sy, ys)
                        b0 = u[0, z, y1, x] - u[0, z, y0, x]
                        b1 = u[1, z, y1, x] - u[1, z, y0, x] + F32(1)
                        b2 = u[2, z, y1, x] - u[2, z, y0, x]
                        m0, m1, m2 = a1 * b2 - b1 * a2, b0 * a2 - a0 * b2, a0 * b1 - b0 * a1
                        for sx in range(2):
                            x0, x1 = _step(x, sx, xs)
                            c0 = u[0, z, y, x1] - u[0, z, y, x0]
                            c1 = u[1, z, y, x1] - u[1, z, y, x0]
                            c2 = u[2, z, y, x1] - u[2, z, y, x0] + F32(1)
                            smallest = min(smallest, c0 * m0 + c1 * m1 + c2 * m2)
                out[z, y, x] = smallest


@nb.njit(inline="always", **JIT)
def _step(at: Any, side: Any, count: Any) -> Any:
    """Return the two neighbors of a one-sided difference; at a border both sides look inwards."""
    if (side == 0 and at > 0) or at == count - 1:
        return max(at - 1, 0), at
    return at, at + 1
