"""Local correlation in numba: value and exact gradient in one sweep over the volume, by box sums kept in the cache."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from .numba_sampling import F32, JIT


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
    """Write the sum of the rows y - radius .. y + radius that lie in low..high-1."""
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
    """Write mean and variance in the cube of `radius` around every voxel, zeros beyond the lattice."""
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

    With f, w the windows of both images, a and b their variances and c their covariance, the value of a
    window is c^2 / ((a + eps)(b + eps)). Its derivative to a voxel of w is linear in three numbers of the
    window (p = c/(ab), q = pc/b, r = p mean f - q mean w), so the exact gradient at a voxel is
    F box(p) - W box(q) - box(r) times the slope of the warped image. `weight` (Z, Y, X) counts windows;
    `cuts` are the planes at which the work is divided.
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
    """Like `_box_column` for a row that itself lies outside low..high-1."""
    out[:] = 0
    for other in range(max(y - radius, low), min(y + radius + 1, high)):
        more = rows[other]
        for x in range(out.size):
            out[x] += more[x]
