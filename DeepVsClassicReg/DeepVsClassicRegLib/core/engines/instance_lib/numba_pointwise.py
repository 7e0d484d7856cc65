"""Kernels in numba for similarities that compare voxel by voxel: squared difference, overlap, mutual information."""

from __future__ import annotations

from typing import Any

import numba as nb

from .numba_sampling import F32, JIT, places, spread

CHUNKS = 16


@nb.njit(parallel=True, **JIT)
def residual_force(fixed: Any, warped: Any, weight: Any, rows: Any, add: Any, force: Any, values: Any) -> None:
    """Write (or add) weight * (fixed - warped) * slope of warped, and the weighted squares of every plane."""
    zs, ys, xs = fixed.shape
    for place in nb.prange(places(zs)):
        z = spread(place, zs)
        if z >= zs:
            continue
        total = F32(0)
        before, after = max(z - 1, 0), min(z + 1, zs - 1)
        for y in range(ys):
            low, high = max(y - 1, 0), min(y + 1, ys - 1)
            row_total = F32(0)
            for x in range(max(rows[z, y, 0], 1), min(rows[z, y, 1], xs - 1)):
                difference = fixed[z, y, x] - warped[z, y, x]
                g = weight[z, y, x] * difference
                row_total += g * difference
                g *= F32(0.5)
                s0 = g * (warped[after, y, x] - warped[before, y, x])
                s1 = g * (warped[z, high, x] - warped[z, low, x])
                s2 = g * (warped[z, y, x + 1] - warped[z, y, x - 1])
                if add:
                    force[0, z, y, x] += s0
                    force[1, z, y, x] += s1
                    force[2, z, y, x] += s2
                else:
                    force[0, z, y, x] = s0
                    force[1, z, y, x] = s1
                    force[2, z, y, x] = s2
            total += row_total
        values[z] = values[z] + total if add else total


@nb.njit(parallel=True, **JIT)
def overlap_force(fixed: Any, warped: Any, gain: Any, loss: Any, rows: Any, force: Any) -> None:
    """Add (gain * fixed - loss) * slope of warped: the exact gradient of a soft Dice overlap."""
    zs, ys, xs = fixed.shape
    for place in nb.prange(places(zs)):
        z = spread(place, zs)
        if z >= zs:
            continue
        before, after = max(z - 1, 0), min(z + 1, zs - 1)
        for y in range(ys):
            low, high = max(y - 1, 0), min(y + 1, ys - 1)
            for x in range(max(rows[z, y, 0], 1), min(rows[z, y, 1], xs - 1)):
                g = F32(0.5) * (gain * fixed[z, y, x] - loss)
                force[0, z, y, x] += g * (warped[after, y, x] - warped[before, y, x])
                force[1, z, y, x] += g * (warped[z, high, x] - warped[z, low, x])
                force[2, z, y, x] += g * (warped[z, y, x + 1] - warped[z, y, x - 1])


@nb.njit(parallel=True, **JIT)
def joint_histogram(fixed: Any, warped: Any, weight: Any, rows: Any, bins: Any, partial: Any) -> None:
    """Write the joint histograms of 16 chunks of planes: fixed to the nearest bin, warped by cubic splines.

    Intensities are in units of bins, 1 to bins - 2. The number of chunks is fixed, so the sum does not
    depend on the threads.
    """
    zs, ys, _xs = fixed.shape
    for place in nb.prange(CHUNKS):
        chunk = spread(place, CHUNKS)
        table = partial[chunk]
        table[:] = 0
        for z in range(zs * chunk // CHUNKS, zs * (chunk + 1) // CHUNKS):
            for y in range(ys):
                for x in range(rows[z, y, 0], rows[z, y, 1]):
                    share = weight[z, y, x]
                    if share <= 0:
                        continue
                    row = table[int(fixed[z, y, x] + F32(0.5))]
                    value = min(max(warped[z, y, x], F32(1)), F32(bins - 3) + F32(0.999))
                    first = int(value)
                    t = value - F32(first)
                    s = F32(1) - t
                    sixth = share * F32(1 / 6)
                    row[first - 1] += sixth * s * s * s
                    row[first] += sixth * (F32(4) - F32(6) * t * t + F32(3) * t * t * t)
                    row[first + 1] += sixth * (F32(4) - F32(6) * s * s + F32(3) * s * s * s)
                    row[first + 2] += sixth * t * t * t


@nb.njit(parallel=True, **JIT)
def information_force(
    fixed: Any, warped: Any, weight: Any, table: Any, rows: Any, bins: Any, force: Any
) -> None:  # fmt: skip
    """Write the gradient of the mutual information; `table` holds log(p(f, w) / p(w)) of the histogram."""
    zs, ys, xs = fixed.shape
    for place in nb.prange(places(zs)):
        z = spread(place, zs)
        if z >= zs:
            continue
        before, after = max(z - 1, 0), min(z + 1, zs - 1)
        for y in range(ys):
            low, high = max(y - 1, 0), min(y + 1, ys - 1)
            for x in range(max(rows[z, y, 0], 1), min(rows[z, y, 1], xs - 1)):
                value = min(max(warped[z, y, x], F32(1)), F32(bins - 3) + F32(0.999))
                first = int(value)
                t = value - F32(first)
                s = F32(1) - t
                row = table[int(fixed[z, y, x] + F32(0.5))]
                slope = -s * s * row[first - 1] + (F32(3) * t * t - F32(4) * t) * row[first]
                slope += (F32(4) * s - F32(3) * s * s) * row[first + 1] + t * t * row[first + 2]
                g = F32(0.25) * weight[z, y, x] * slope
                force[0, z, y, x] = g * (warped[after, y, x] - warped[before, y, x])
                force[1, z, y, x] = g * (warped[z, high, x] - warped[z, low, x])
                force[2, z, y, x] = g * (warped[z, y, x + 1] - warped[z, y, x - 1])


@nb.njit(**JIT)
def sum_in_rows(image: Any, rows: Any) -> Any:
    """Return the sum over the rows in double precision."""
    total: Any = 0.0
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            part = F32(0)
            for x in range(rows[z, y, 0], rows[z, y, 1]):
                part += image[z, y, x]
            total += part
    return total


@nb.njit(**JIT)
def sums_of_products(fixed: Any, warped: Any) -> Any:
    """Return sum(fixed * warped) and sum(warped) in double precision, plane by plane."""
    both: Any = 0.0
    alone: Any = 0.0
    for z in range(fixed.shape[0]):
        for y in range(fixed.shape[1]):
            part_both, part_alone = F32(0), F32(0)
            for x in range(fixed.shape[2]):
                part_both += fixed[z, y, x] * warped[z, y, x]
                part_alone += warped[z, y, x]
            both += part_both
            alone += part_alone
    return both, alone
