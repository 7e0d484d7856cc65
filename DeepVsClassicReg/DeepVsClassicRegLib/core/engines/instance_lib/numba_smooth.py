"""Gaussian smoothing of vector fields in numba: three passes fused plane by plane, only where it matters."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from .numba_sampling import F32, JIT


@nb.njit(inline="always", **JIT)
def _mix4(t: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, out: Any) -> None:
    for x in range(out.size):
        out[x] = t[0] * e[x] + t[1] * (d[x] + f[x]) + t[2] * (c[x] + g[x]) + t[3] * (b[x] + h[x]) + t[4] * (a[x] + i[x])


@nb.njit(inline="always", **JIT)
def _weighted(taps: Any, source: Any, at: Any, low: Any, high: Any, out: Any) -> None:
    """Write the sum of taps[k] * (source[at - k] + source[at + k]) over rows, rows beyond low..high-1 repeated."""
    reach = taps.size - 1
    if reach == 4 and at - 4 >= low and at + 4 < high:
        _mix4(
            taps, source[at - 4], source[at - 3], source[at - 2], source[at - 1], source[at],
            source[at + 1], source[at + 2], source[at + 3], source[at + 4], out,
        )  # fmt: skip
        return
    here = source[at]
    if reach == 1:
        before, after = source[max(at - 1, low)], source[min(at + 1, high - 1)]
        for x in range(out.size):
            out[x] = taps[0] * here[x] + taps[1] * (before[x] + after[x])
        return
    for x in range(out.size):
        out[x] = taps[0] * here[x]
    for k in range(1, reach + 1):
        tap, before, after = taps[k], source[max(at - k, low)], source[min(at + k, high - 1)]
        for x in range(out.size):
            out[x] += tap * (before[x] + after[x])


@nb.njit(inline="always", **JIT)
def _along_row(taps: Any, line: Any, out: Any) -> None:
    """out[x] = weighted sum of line[x .. x + 2 * reach]; the line is longer by `reach` on both ends."""
    reach, n = taps.size - 1, out.size
    if reach == 4:
        _mix4(
            taps, line[0:n], line[1 : n + 1], line[2 : n + 2], line[3 : n + 3], line[4 : n + 4],
            line[5 : n + 5], line[6 : n + 6], line[7 : n + 7], line[8 : n + 8], out,
        )  # fmt: skip
        return
    for x in range(n):
        out[x] = taps[0] * line[x + reach]
    for k in range(1, reach + 1):
        tap = taps[k]
        before, after = line[reach - k : reach - k + n], line[reach + k : reach + k + n]
        for x in range(n):
            out[x] += tap * (before[x] + after[x])


@nb.njit(parallel=True, **JIT)
def smooth(
    field: Any, taps_z: Any, taps_y: Any, taps_x: Any, aspect: Any, rows: Any, planes: Any, cuts: Any,
    out: Any, squares: Any,
) -> None:  # fmt: skip
    """Write the Gaussian-smoothed field inside the rows, and the sum of squares of every plane.

    The taps are halves of the kernels, the center first; values outside the lattice repeat the border.
    `aspect` (z, y, x) weighs the components in the sum of squares; `cuts` are the planes at which the work is divided.
    """
    zs, ys, xs = field.shape[1:]
    reach, reach_y = taps_x.size - 1, taps_y.size - 1
    for slab in nb.prange(cuts.size - 1):
        mixed = np.empty((ys, xs), np.float32)
        line = np.empty(xs + 2 * reach, np.float32)
        result = np.empty(xs, np.float32)
        for z in range(cuts[slab], cuts[slab + 1]):
            y0, y1, x0, x1 = planes[z, 0], planes[z, 1], planes[z, 2], planes[z, 3]
            total = F32(0)
            if y1 <= y0:
                squares[z] = 0
                continue
            left, right = max(x0 - reach, 0), min(x1 + reach, xs)
            top, bottom = max(y0 - reach_y, 0), min(y1 + reach_y, ys)
            for axis in range(3):
                for y in range(top, bottom):
                    _weighted(taps_z, field[axis, :, y, left:right], z, 0, zs, mixed[y, left:right])
                for y in range(y0, y1):
                    start, end = rows[z, y, 0], rows[z, y, 1]
                    if end <= start:
                        continue
                    a, b = max(start - reach, 0), min(end + reach, xs)
                    # line[j] holds column start - reach + j
                    shift = a - (start - reach)
                    _weighted(taps_y, mixed[:, a:b], y, top, bottom, line[shift : shift + b - a])
                    for j in range(shift):
                        line[j] = line[shift]
                    for j in range(shift + b - a, end - start + 2 * reach):
                        line[j] = line[shift + b - a - 1]
                    part = result[: end - start]
                    _along_row(taps_x, line, part)
                    target = out[axis, z, y, start:end]
                    row_total = F32(0)
                    for x in range(part.size):
                        target[x] = part[x]
                        row_total += part[x] * part[x]
                    total += row_total * aspect[axis] * aspect[axis]
            squares[z] = total
