"""Numba kernels of similarities: local correlation, squared difference, overlap, mutual information."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from ...numba_setup import F32, JIT, use_user_cache
from .numba_fields import places, spread

use_user_cache()  # numba sets the cache folder when a function is decorated


@nb.njit(inline="always", **JIT)
def _sum_rows(source: Any, first: Any, stride: Any, number: Any, out: Any, to: Any, count: Any) -> None:
    """Write the sum of rows that begin at first, first + stride, ... to out[to .. to + count - 1]; arrays are flat.

    Flat unsigned indices, because numba counts the references to every slice: that took longer than the sums.
    """
    n, o, a, step = nb.uint64(count), nb.uint64(to), nb.uint64(first), nb.uint64(stride)
    summed = 1
    if number >= 5:
        b, c, d, e = a + step, a + nb.uint64(2) * step, a + nb.uint64(3) * step, a + nb.uint64(4) * step
        for x in range(n):
            out[o + x] = source[a + x] + source[b + x] + source[c + x] + source[d + x] + source[e + x]
        summed = 5
    elif number > 0:
        for x in range(n):
            out[o + x] = source[a + x]
    else:
        for x in range(n):
            out[o + x] = 0
    while summed + 4 <= number:
        b = a + nb.uint64(summed) * step
        c, d, e = b + step, b + nb.uint64(2) * step, b + nb.uint64(3) * step
        for x in range(n):
            out[o + x] += source[b + x] + source[c + x] + source[d + x] + source[e + x]
        summed += 4
    for k in range(summed, number):
        more = a + nb.uint64(k) * step
        for x in range(n):
            out[o + x] += source[more + x]


@nb.njit(parallel=True, **JIT)
def local_statistics(image: Any, radius: Any, slabs: Any, mean: Any, variance: Any) -> None:
    """Write mean and variance in the cube of `radius` around every voxel, with zeros outside the grid."""
    zs, ys, xs = image.shape
    count, wide = 2 * radius + 1, xs + 2 * radius
    share = F32(1.0 / count**3)
    for slab in nb.prange(slabs):
        start, stop = zs * slab // slabs, zs * (slab + 1) // slabs
        ring = np.zeros(2 * ys * count * xs, np.float32)
        across = np.zeros(2 * ys * xs, np.float32)
        line = np.zeros(2 * wide, np.float32)
        summed = np.empty(2 * xs, np.float32)
        for z in range(start - radius, stop + radius):
            slot = (z + count) % count
            inside = z >= 0 and z < zs
            if inside:
                for y in range(ys):
                    for x in range(xs):
                        line[radius + x] = image[z, y, x]
                        line[wide + radius + x] = image[z, y, x] * image[z, y, x]
                    for q in range(2):
                        _sum_rows(line, q * wide, 1, count, across, (q * ys + y) * xs, xs)
            for q in range(2):
                for y in range(ys):
                    low, high = max(y - radius, 0), min(y + radius + 1, ys)
                    to = ((q * ys + y) * count + slot) * xs
                    _sum_rows(across, (q * ys + low) * xs, xs, (high - low) * int(inside), ring, to, xs)
            at = z - radius
            if at < start:
                continue
            for y in range(ys):
                for q in range(2):
                    _sum_rows(ring, (q * ys + y) * count * xs, xs, count, summed, q * xs, xs)
                for x in range(xs):
                    middle = summed[x] * share
                    mean[at, y, x] = middle
                    variance[at, y, x] = max(summed[xs + x] * share - middle * middle, F32(0))


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
    count, wide = 2 * radius + 1, xs + 2 * radius
    share = F32(1.0 / count**3)
    half = F32(0.5)
    f, w, volume = fixed.reshape(fixed.size), warped.reshape(warped.size), nb.uint64(fixed.size)
    means, variances, weights = mean.reshape(mean.size), variance.reshape(mean.size), weight.reshape(mean.size)
    g = force.reshape(force.size)
    one, two, wider = nb.uint64(xs), nb.uint64(2 * xs), nb.uint64(2 * wide)
    for slab in nb.prange(cuts.size - 1):
        start, stop = cuts[slab], cuts[slab + 1]
        # Of three quantities q: their sums over squares of the last planes, ((q * ys + y) * count + slot) * xs + x.
        sums = np.zeros(3 * ys * count * xs, np.float32)
        terms = np.zeros(3 * ys * count * xs, np.float32)
        across = np.zeros(3 * ys * xs, np.float32)
        line = np.zeros(3 * wide, np.float32)
        s = np.zeros(3 * xs, np.float32)
        for z in range(start - 2 * radius, stop + 2 * radius):
            slot = (z + 4 * count) % count
            if z < 0 or z >= zs or planes[z, 1] <= planes[z, 0]:
                _clear(sums, 3 * ys, slot, count, xs)
            else:
                _window_sums(f, w, z, ys, xs, planes[z], radius, slot, line, across, sums)
            middle = z - radius
            if middle < start - radius:
                continue
            slot = (middle + 4 * count) % count
            _clear(terms, 3 * ys, slot, count, xs)
            if middle < 0 or middle >= zs or planes[middle, 1] <= planes[middle, 0]:
                if middle >= start and middle < stop:
                    values[middle] = 0
            else:
                y0, y1, x0, x1 = planes[middle, 0], planes[middle, 1], planes[middle, 2], planes[middle, 3]
                n = x1 - x0
                total = F32(0)
                line[:] = 0
                r0 = nb.uint64(radius)
                r1, r2 = r0 + nb.uint64(wide), r0 + wider
                for y in range(y0, y1):
                    for q in range(3):
                        _sum_rows(sums, (q * ys + y) * count * xs + x0, xs, count, s, q * xs, n)
                    at = nb.uint64((middle * ys + y) * xs + x0)
                    for x in range(nb.uint64(n)):
                        wm = s[x] * share
                        wv = max(s[one + x] * share - wm * wm, F32(0))
                        fm = means[at + x]
                        cov = s[two + x] * share - wm * fm
                        inverse = F32(1) / (wv + eps)
                        p = weights[at + x] * cov * inverse / (variances[at + x] + eps)
                        q_ = p * cov * inverse
                        line[r0 + x] = p
                        line[r1 + x] = q_
                        line[r2 + x] = p * fm - q_ * wm
                        total += p * cov
                    for q in range(3):
                        _sum_rows(line, q * wide, 1, count, across, (q * ys + y) * xs + x0, n)
                if middle >= start and middle < stop:
                    values[middle] = total
                for q in range(3):
                    for y in range(y0, y1):
                        low, high = max(y - radius, y0), min(y + radius + 1, y1)
                        to = ((q * ys + y) * count + slot) * xs + x0
                        _sum_rows(across, (q * ys + low) * xs + x0, xs, high - low, terms, to, n)
            place = middle - radius
            if place < start:
                continue
            before, after = max(place - 1, 0), min(place + 1, zs - 1)
            for y in range(planes[place, 0], planes[place, 1]):
                first, end = max(rows[place, y, 0], 1), min(rows[place, y, 1], xs - 1)
                n = end - first
                if n <= 0:
                    continue
                for q in range(3):
                    _sum_rows(terms, (q * ys + y) * count * xs + first, xs, count, s, q * xs, n)
                low, high = max(y - 1, 0), min(y + 1, ys - 1)
                at = nb.uint64((place * ys + y) * xs + first)
                down, up = nb.uint64((place * ys + low) * xs + first), nb.uint64((place * ys + high) * xs + first)
                back, ahead = nb.uint64((before * ys + y) * xs + first), nb.uint64((after * ys + y) * xs + first)
                left, right = at - nb.uint64(1), at + nb.uint64(1)
                at1, at2 = at + volume, at + volume + volume
                for x in range(nb.uint64(n)):
                    gain = half * share * (s[x] * f[at + x] - s[one + x] * w[at + x] - s[two + x])
                    g[at + x] = gain * (w[ahead + x] - w[back + x])
                    g[at1 + x] = gain * (w[up + x] - w[down + x])
                    g[at2 + x] = gain * (w[right + x] - w[left + x])


@nb.njit(inline="always", **JIT)
def _clear(ring: Any, lines: Any, slot: Any, count: Any, xs: Any) -> None:
    """Write zeros into a slot of every line of a ring."""
    for number in range(lines):
        first = (number * count + slot) * xs
        for x in range(nb.uint64(first), nb.uint64(first + xs)):
            ring[x] = 0


@nb.njit(**JIT)
def _window_sums(
    f: Any, w: Any, z: Any, ys: Any, xs: Any, plane: Any, radius: Any, slot: Any, line: Any, across: Any, sums: Any
) -> None:
    """Write the sums of w, w^2 and f w over the squares of plane z into its slot of the ring."""
    y0, y1, x0, x1 = plane[0], plane[1], plane[2], plane[3]
    top, bottom = max(y0 - radius, 0), min(y1 + radius, ys)
    left, right = max(x0 - radius, 0), min(x1 + radius, xs)
    n, count, wide = right - left, 2 * radius + 1, xs + 2 * radius
    line[:] = 0
    r0, r1, r2 = nb.uint64(radius), nb.uint64(wide + radius), nb.uint64(2 * wide + radius)
    for y in range(top, bottom):
        at = nb.uint64((z * ys + y) * xs + left)
        for x in range(nb.uint64(n)):
            line[r0 + x] = w[at + x]
            line[r1 + x] = w[at + x] * w[at + x]
            line[r2 + x] = w[at + x] * f[at + x]
        for q in range(3):
            _sum_rows(line, q * wide, 1, count, across, (q * ys + y) * xs + left, n)
    _clear(sums, 3 * ys, slot, count, xs)
    for q in range(3):
        for y in range(max(top - radius, 0), min(bottom + radius, ys)):
            low, high = max(y - radius, top), min(y + radius + 1, bottom)
            to = ((q * ys + y) * count + slot) * xs + left
            _sum_rows(across, (q * ys + low) * xs + left, xs, high - low, sums, to, n)


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
