"""Numba kernels of similarities: local correlation, squared difference, overlap, mutual information."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from ...numba_setup import F32, JIT, use_user_cache
from .numba_fields import places, spread

use_user_cache()  # numba sets the cache folder when a function is decorated


@nb.njit(inline="always", **JIT)
def _box_row(line: Any, radius: Any, out: Any) -> None:
    """out[x] = sum of line[x .. x + 2 * radius]; the line is longer by `radius` on both ends."""
    n = out.size
    if radius == 2:
        a, b, c, d, e = line[0:n], line[1 : n + 1], line[2 : n + 2], line[3 : n + 3], line[4 : n + 4]
        for x in range(n):
            out[x] = a[x] + b[x] + c[x] + d[x] + e[x]
        return
    for x in range(n):
        out[x] = line[x + radius]
    for k in range(1, radius + 1):
        before, after = line[radius - k : radius - k + n], line[radius + k : radius + k + n]
        for x in range(n):
            out[x] += before[x] + after[x]


@nb.njit(inline="always", **JIT)
def _box_column(rows: Any, y: Any, radius: Any, low: Any, high: Any, out: Any) -> None:
    """Write the sum of the rows y - radius .. y + radius that are in low..high-1."""
    n = out.size
    if radius == 2 and y - 2 >= low and y + 2 < high:
        a, b, c, d, e = rows[y - 2], rows[y - 1], rows[y], rows[y + 1], rows[y + 2]
        for x in range(n):
            out[x] = a[x] + b[x] + c[x] + d[x] + e[x]
        return
    here = rows[y]
    for x in range(n):
        out[x] = here[x]
    for k in range(1, radius + 1):
        if y - k >= low:
            before = rows[y - k]
            for x in range(n):
                out[x] += before[x]
        if y + k < high:
            after = rows[y + k]
            for x in range(n):
                out[x] += after[x]


@nb.njit(inline="always", **JIT)
def _box_planes(ring: Any, count: Any, out: Any) -> None:
    """Write the sum of the rows ring[0 .. count-1]."""
    n = out.size
    if count == 5:
        a, b, c, d, e = ring[0], ring[1], ring[2], ring[3], ring[4]
        for x in range(n):
            out[x] = a[x] + b[x] + c[x] + d[x] + e[x]
        return
    first = ring[0]
    for x in range(n):
        out[x] = first[x]
    for k in range(1, count):
        more = ring[k]
        for x in range(n):
            out[x] += more[x]


@nb.njit(parallel=True, **JIT)
def local_statistics(image: Any, radius: Any, slabs: Any, mean: Any, variance: Any) -> None:
    """Write mean and variance in the cube of `radius` around every voxel, with zeros outside the grid."""
    zs, ys, xs = image.shape
    count = 2 * radius + 1
    share = F32(1.0 / count**3)
    for slab in nb.prange(slabs):
        start, stop = zs * slab // slabs, zs * (slab + 1) // slabs
        ring = np.zeros((2, ys, count, xs), np.float32)
        rows = np.zeros((2, ys, xs), np.float32)
        line = np.zeros((2, xs + 2 * radius), np.float32)
        summed = np.empty((2, xs), np.float32)
        for z in range(start - radius, stop + radius):
            slot = (z + count) % count
            if z < 0 or z >= zs:
                ring[:, :, slot] = 0
            else:
                for y in range(ys):
                    for x in range(xs):
                        line[0, x + radius] = image[z, y, x]
                        line[1, x + radius] = image[z, y, x] * image[z, y, x]
                    for q in range(2):
                        _box_row(line[q], radius, rows[q, y])
                for q in range(2):
                    for y in range(ys):
                        _box_column(rows[q], y, radius, 0, ys, ring[q, y, slot])
            at = z - radius
            if at < start:
                continue
            for y in range(ys):
                for q in range(2):
                    _box_planes(ring[q, y], count, summed[q])
                for x in range(xs):
                    middle = summed[0, x] * share
                    mean[at, y, x] = middle
                    variance[at, y, x] = max(summed[1, x] * share - middle * middle, F32(0))


@nb.njit(parallel=True, **JIT)
def lncc_force(
    fixed: Any, warped: Any, mean: Any, variance: Any, weight: Any, radius: Any, eps: Any,
    rows: Any, planes: Any, cuts: Any, force: Any, values: Any,
) -> None:  # fmt: skip
    """Write the ascent direction of the squared local correlation, and its sum over every plane.

    With f, w the windows of both images, a and b their variances and c their covariance, the value of a window is
    c^2 / ((a + eps)(b + eps)). Its derivative by a voxel of w is linear in three numbers of the window (p = c/(ab),
    q = pc/b, r = p mean f - q mean w), so the exact gradient at a voxel is F box(p) - W box(q) - box(r) times the slope
    of the warped image. `weight` (Z, Y, X) contains the weights of windows; `cuts` are the planes at which the work is
    divided.
    """
    zs, ys, xs = fixed.shape
    count = 2 * radius + 1
    share = F32(1.0 / count**3)
    half = F32(0.5)
    for slab in nb.prange(cuts.size - 1):
        start, stop = cuts[slab], cuts[slab + 1]
        sums = np.zeros((3, ys, count, xs), np.float32)
        terms = np.zeros((3, ys, count, xs), np.float32)
        across = np.zeros((3, ys, xs), np.float32)
        line = np.zeros((3, xs + 2 * radius), np.float32)
        s = np.zeros((3, xs), np.float32)
        for z in range(start - 2 * radius, stop + 2 * radius):
            slot = (z + 4 * count) % count
            if z < 0 or z >= zs or planes[z, 1] <= planes[z, 0]:
                sums[:, :, slot] = 0
            else:
                _window_sums(fixed[z], warped[z], planes[z], radius, slot, line, across, sums)
            middle = z - radius
            if middle < start - radius:
                continue
            slot = (middle + 4 * count) % count
            if middle < 0 or middle >= zs or planes[middle, 1] <= planes[middle, 0]:
                terms[:, :, slot] = 0
                if middle >= start and middle < stop:
                    values[middle] = 0
            else:
                y0, y1, x0, x1 = planes[middle, 0], planes[middle, 1], planes[middle, 2], planes[middle, 3]
                left, n = x0, x1 - x0
                total = F32(0)
                line[:] = 0
                terms[:, :, slot] = 0
                for y in range(y0, y1):
                    for q in range(3):
                        _box_planes(sums[q, y, :, x0:x1], count, s[q, :n])
                    fm, fv, counts = mean[middle, y, x0:x1], variance[middle, y, x0:x1], weight[middle, y, x0:x1]
                    for x in range(n):
                        wm = s[0, x] * share
                        wv = max(s[1, x] * share - wm * wm, F32(0))
                        cov = s[2, x] * share - wm * fm[x]
                        inverse = F32(1) / (wv + eps)
                        p = counts[x] * cov * inverse / (fv[x] + eps)
                        q_ = p * cov * inverse
                        line[0, radius + x] = p
                        line[1, radius + x] = q_
                        line[2, radius + x] = p * fm[x] - q_ * wm
                        total += p * cov
                    for q in range(3):
                        _box_row(line[q, : n + 2 * radius], radius, across[q, y, left : left + n])
                if middle >= start and middle < stop:
                    values[middle] = total
                for q in range(3):
                    for y in range(y0, y1):
                        _box_column(across[q, :, x0:x1], y, radius, y0, y1, terms[q, y, slot, x0:x1])
            at = middle - radius
            if at < start:
                continue
            before, after = max(at - 1, 0), min(at + 1, zs - 1)
            for y in range(planes[at, 0], planes[at, 1]):
                first, end = max(rows[at, y, 0], 1), min(rows[at, y, 1], xs - 1)
                n = end - first
                if n <= 0:
                    continue
                for q in range(3):
                    _box_planes(terms[q, y, :, first:end], count, s[q, :n])
                low, high = max(y - 1, 0), min(y + 1, ys - 1)
                f, w = fixed[at, y, first:end], warped[at, y, first:end]
                wl, wr = warped[at, y, first - 1 : end - 1], warped[at, y, first + 1 : end + 1]
                wb, wa = warped[before, y, first:end], warped[after, y, first:end]
                wd, wu = warped[at, low, first:end], warped[at, high, first:end]
                g0, g1, g2 = force[0, at, y, first:end], force[1, at, y, first:end], force[2, at, y, first:end]
                for x in range(n):
                    g = half * share * (s[0, x] * f[x] - s[1, x] * w[x] - s[2, x])
                    g0[x] = g * (wa[x] - wb[x])
                    g1[x] = g * (wu[x] - wd[x])
                    g2[x] = g * (wr[x] - wl[x])


@nb.njit(**JIT)
def _window_sums(
    fixed: Any, warped: Any, plane: Any, radius: Any, slot: Any, line: Any, across: Any, sums: Any
) -> None:
    """Write the sums of w, w^2 and f w over the squares of a plane into its slot of the ring."""
    ys, xs = fixed.shape
    y0, y1, x0, x1 = plane[0], plane[1], plane[2], plane[3]
    top, bottom = max(y0 - radius, 0), min(y1 + radius, ys)
    left, right = max(x0 - radius, 0), min(x1 + radius, xs)
    n = right - left
    line[:] = 0
    for y in range(top, bottom):
        f, w = fixed[y, left:right], warped[y, left:right]
        a, b, c = line[0, radius : radius + n], line[1, radius : radius + n], line[2, radius : radius + n]
        for x in range(n):
            a[x] = w[x]
            b[x] = w[x] * w[x]
            c[x] = w[x] * f[x]
        for q in range(3):
            _box_row(line[q, : n + 2 * radius], radius, across[q, y, left:right])
    for q in range(3):
        for y in range(ys):
            if y < top - radius or y >= bottom + radius:
                sums[q, y, slot] = 0
            else:
                out = sums[q, y, slot]
                out[:left] = 0
                out[right:] = 0
                if y < top or y >= bottom:
                    _edge_column(across[q, :, left:right], y, radius, top, bottom, out[left:right])
                else:
                    _box_column(across[q, :, left:right], y, radius, top, bottom, out[left:right])


@nb.njit(inline="always", **JIT)
def _edge_column(rows: Any, y: Any, radius: Any, low: Any, high: Any, out: Any) -> None:
    """Like `_box_column` for a row that is itself outside low..high-1."""
    out[:] = 0
    for other in range(max(y - radius, low), min(y + radius + 1, high)):
        more = rows[other]
        for x in range(out.size):
            out[x] += more[x]


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

    Intensities are in units of bins, 1 to bins - 2. The number of chunks is fixed, so that the sum does not depend on
    the number of threads.
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
    """Write the gradient of the mutual information; `table` contains log(p(f, w) / p(w)) of the histogram."""
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
