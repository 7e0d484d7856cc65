"""Numba kernels on fields: warp an image, take a compositive step, smooth."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from ...numba_setup import F32, JIT, use_user_cache

use_user_cache()  # numba sets the cache folder when a function is decorated


@nb.njit(inline="always", **JIT)
def _inside(position: Any, last: Any) -> Any:
    return min(max(position, F32(0.0)), last)


@nb.njit(inline="always", **JIT)
def _corner_mean(image: Any, at: Any, row: Any, plane: Any, a: Any, b: Any, c: Any) -> Any:
    """Return the trilinear mean of the eight voxels from flat index `at`; a, b, c are the offsets along z, y, x."""
    v00 = image[at] + c * (image[at + nb.uint64(1)] - image[at])
    at = at + row
    v01 = image[at] + c * (image[at + nb.uint64(1)] - image[at])
    at = at + plane
    v11 = image[at] + c * (image[at + nb.uint64(1)] - image[at])
    at = at - row
    v10 = image[at] + c * (image[at + nb.uint64(1)] - image[at])
    v0 = v00 + b * (v01 - v00)
    v1 = v10 + b * (v11 - v10)
    return v0 + a * (v1 - v0)


@nb.njit(inline="always", **JIT)
def spread(index: Any, count: Any) -> Any:
    """Return which of `count` planes is computed at this index when every eighth plane is for one thread.

    Threads process consecutive indices. A head has more voxels in its upper half, so with consecutive planes one thread
    would wait. Indices go up to `places(count)`; those beyond the last plane must be skipped.
    """
    share = (count + 7) // 8
    return (nb.int64(index) % share) * 8 + nb.int64(index) // share


@nb.njit(inline="always", **JIT)
def places(count: Any) -> Any:
    """Return the number of indices for `spread`."""
    return 8 * ((count + 7) // 8)


@nb.njit(parallel=True, **JIT)
def warp(image: Any, u: Any, rows: Any, out: Any) -> None:
    """Write image(x + u(x)) inside the rows; u is (3, Z, Y, X) in voxels (z, y, x), border values are continued."""
    zs, ys, xs = out.shape
    flat = image.reshape(image.size)
    row, plane = nb.uint64(xs), nb.uint64(xs * ys)
    last_z, last_y, last_x = F32(zs - 1.001), F32(ys - 1.001), F32(xs - 1.001)
    for place in nb.prange(places(zs)):
        z = spread(place, zs)
        if z >= zs:
            continue
        for y in range(ys):
            u0, u1, u2, line = u[0, z, y], u[1, z, y], u[2, z, y], out[z, y]
            for x in range(rows[z, y, 0], rows[z, y, 1]):
                pz = _inside(F32(z) + u0[x], last_z)
                py = _inside(F32(y) + u1[x], last_y)
                px = _inside(F32(x) + u2[x], last_x)
                iz, iy, ix = nb.int32(pz), nb.int32(py), nb.int32(px)
                at = nb.uint64(iz) * plane + nb.uint64(iy) * row + nb.uint64(ix)
                line[x] = _corner_mean(flat, at, row, plane, pz - F32(iz), py - F32(iy), px - F32(ix))


@nb.njit(parallel=True, **JIT)
def add(field: Any, other: Any, factor: Any, rows: Any) -> None:
    """Add factor * other to the field inside the rows."""
    zs, ys, xs = field.shape[1:]
    f, o = field.reshape(field.size), other.reshape(other.size)
    for z in nb.prange(zs):
        for axis in range(3):
            for y in range(ys):
                at = nb.uint64(((axis * zs + z) * ys + y) * xs)
                for x in range(nb.uint64(rows[z, y, 0]), nb.uint64(rows[z, y, 1])):
                    f[at + x] += factor * o[at + x]


@nb.njit(parallel=True, **JIT)
def squares_of_planes(field: Any, rows: Any, squares: Any) -> None:
    """Write the sum of squares inside the rows of every plane."""
    zs, ys, xs = field.shape[1:]
    f = field.reshape(field.size)
    for z in nb.prange(zs):
        total = F32(0)
        for axis in range(3):
            for y in range(ys):
                at = nb.uint64(((axis * zs + z) * ys + y) * xs)
                part = F32(0)
                for x in range(nb.uint64(rows[z, y, 0]), nb.uint64(rows[z, y, 1])):
                    part += f[at + x] * f[at + x]
                total += part
        squares[z] = total


@nb.njit(parallel=True, **JIT)
def update(force: Any, memory: Any, aspect: Any, keep: Any, scale: Any, step: Any, rows: Any) -> None:
    """Replace the force by the update of this step, which combines it with the previous steps.

    Each force vector f is normalized to f / (|f| + scale), so that strong edges do not dominate weak ones. It is added
    to keep * memory, and the update is step * memory. `aspect` is the finest spacing divided by the spacing along z, y,
    x, so that steps have the same length in mm along all axes.
    """
    zs, ys, xs = force.shape[1:]
    a0, a1, a2 = aspect[0], aspect[1], aspect[2]
    f, m, volume = force.reshape(force.size), memory.reshape(memory.size), nb.uint64(zs * ys * xs)
    for z in nb.prange(zs):
        for y in range(ys):
            i0 = nb.uint64((z * ys + y) * xs)
            i1, i2 = i0 + volume, i0 + volume + volume
            for x in range(nb.uint64(rows[z, y, 0]), nb.uint64(rows[z, y, 1])):
                g0, g1, g2 = a0 * f[i0 + x], a1 * f[i1 + x], a2 * f[i2 + x]
                gain = F32(1) / (np.sqrt(g0 * g0 + g1 * g1 + g2 * g2) + scale)
                m0 = keep * m[i0 + x] + gain * a0 * g0
                m1 = keep * m[i1 + x] + gain * a1 * g1
                m2 = keep * m[i2 + x] + gain * a2 * g2
                m[i0 + x], m[i1 + x], m[i2 + x] = m0, m1, m2
                f[i0 + x], f[i1 + x], f[i2 + x] = step * m0, step * m1, step * m2


@nb.njit(inline="always", **JIT)
def _near_mean(u: Any, at: Any, before: Any, here: Any, after: Any) -> Any:
    """Return the weighted sum of three neighbors along x."""
    return before * u[at - nb.uint64(1)] + here * u[at] + after * u[at + nb.uint64(1)]


@nb.njit(parallel=True, **JIT)
def compose_near(first: Any, second: Any, rows: Any, cuts: Any, out: Any) -> None:
    """Write first(x) + second(x + first(x)) inside the rows; `first` is at most one voxel long along every axis.

    So near, a trilinear mean is a sum over the 27 neighbors with weights max(-v, 0), 1 - |v| and max(v, 0) along each
    axis. Neighbors of consecutive voxels are consecutive, so that the processor computes many at once, which it can not
    with eight corners anywhere.
    """
    zs, ys, xs = first.shape[1:]
    v, u, to, volume = (
        first.reshape(first.size),
        second.reshape(first.size),
        out.reshape(out.size),
        nb.uint64(zs * ys * xs),
    )
    last_z, last_y, last_x = F32(zs - 1.001), F32(ys - 1.001), F32(xs - 1.001)
    row, plane = nb.uint64(xs), nb.uint64(xs * ys)
    for slab in nb.prange(cuts.size - 1):
        weights = np.empty(6 * xs, np.float32)
        n1, n2, n3, n4, n5 = row, row * nb.uint64(2), row * nb.uint64(3), row * nb.uint64(4), row * nb.uint64(5)
        for z in range(cuts[slab], cuts[slab + 1]):
            low_z, high_z = max(z - 1, 0), min(z + 1, zs - 1)
            for y in range(ys):
                start, end = rows[z, y, 0], rows[z, y, 1]
                if end <= start:
                    continue
                low_y, high_y = max(y - 1, 0), min(y + 1, ys - 1)
                bb, bh, ba = _line(low_z, low_y, ys, xs), _line(low_z, y, ys, xs), _line(low_z, high_y, ys, xs)
                hb, hh, ha = _line(z, low_y, ys, xs), _line(z, y, ys, xs), _line(z, high_y, ys, xs)
                ab, ah, aa = _line(high_z, low_y, ys, xs), _line(high_z, y, ys, xs), _line(high_z, high_y, ys, xs)
                inner, stop = nb.uint64(max(start, 1)), nb.uint64(min(end, xs - 1))
                for x in range(inner, stop):
                    v0 = min(max(v[hh + x], -F32(z)), last_z - F32(z))
                    v1 = min(max(v[hh + volume + x], -F32(y)), last_y - F32(y))
                    v2 = v[hh + volume + volume + x]
                    weights[x], weights[n1 + x] = max(-v0, F32(0)), max(v0, F32(0))
                    weights[n2 + x], weights[n3 + x] = max(-v1, F32(0)), max(v1, F32(0))
                    weights[n4 + x], weights[n5 + x] = max(-v2, F32(0)), max(v2, F32(0))
                for axis in range(3):
                    component = nb.uint64(axis) * volume
                    for x in range(inner, stop):
                        zb, za, yb, ya = weights[x], weights[n1 + x], weights[n2 + x], weights[n3 + x]
                        xb, xa = weights[n4 + x], weights[n5 + x]
                        xh, yh, i = F32(1) - xb - xa, F32(1) - yb - ya, component + x
                        below = yb * _near_mean(u, bb + i, xb, xh, xa) + yh * _near_mean(u, bh + i, xb, xh, xa)
                        below += ya * _near_mean(u, ba + i, xb, xh, xa)
                        level = yb * _near_mean(u, hb + i, xb, xh, xa) + yh * _near_mean(u, hh + i, xb, xh, xa)
                        level += ya * _near_mean(u, ha + i, xb, xh, xa)
                        above = yb * _near_mean(u, ab + i, xb, xh, xa) + yh * _near_mean(u, ah + i, xb, xh, xa)
                        above += ya * _near_mean(u, aa + i, xb, xh, xa)
                        to[hh + i] = v[hh + i] + zb * below + (F32(1) - zb - za) * level + za * above
                for edge in range(2):
                    x = edge * (xs - 1)  # without a neighbor on one side
                    if x < start or x >= end:
                        continue
                    at = hh + nb.uint64(x)
                    pz = _inside(F32(z) + v[at], last_z)
                    py = _inside(F32(y) + v[at + volume], last_y)
                    px = _inside(F32(x) + v[at + volume + volume], last_x)
                    iz, iy, ix = nb.int32(pz), nb.int32(py), nb.int32(px)
                    a, b, c = pz - F32(iz), py - F32(iy), px - F32(ix)
                    corner = nb.uint64(iz) * plane + nb.uint64(iy) * row + nb.uint64(ix)
                    for axis in range(3):
                        component = nb.uint64(axis) * volume
                        to[at + component] = v[at + component] + _corner_mean(
                            u, corner + component, row, plane, a, b, c
                        )


@nb.njit(inline="always", **JIT)
def _line(z: Any, y: Any, ys: Any, xs: Any) -> Any:
    """Return the flat index at which a row begins."""
    return nb.uint64((z * ys + y) * xs)


@nb.njit(parallel=True, **JIT)
def compose(first: Any, second: Any, rows: Any, out: Any) -> None:
    """Write first(x) + second(x + first(x)) inside the rows."""
    zs, ys, xs = first.shape[1:]
    flat0, flat1, flat2 = (
        second[0].reshape(zs * ys * xs),
        second[1].reshape(zs * ys * xs),
        second[2].reshape(zs * ys * xs),
    )
    row, plane = nb.uint64(xs), nb.uint64(xs * ys)
    last_z, last_y, last_x = F32(zs - 1.001), F32(ys - 1.001), F32(xs - 1.001)
    for z in nb.prange(zs):
        for y in range(ys):
            v0, v1, v2 = first[0, z, y], first[1, z, y], first[2, z, y]
            o0, o1, o2 = out[0, z, y], out[1, z, y], out[2, z, y]
            for x in range(rows[z, y, 0], rows[z, y, 1]):
                pz = _inside(F32(z) + v0[x], last_z)
                py = _inside(F32(y) + v1[x], last_y)
                px = _inside(F32(x) + v2[x], last_x)
                iz, iy, ix = nb.int32(pz), nb.int32(py), nb.int32(px)
                at = nb.uint64(iz) * plane + nb.uint64(iy) * row + nb.uint64(ix)
                a, b, c = pz - F32(iz), py - F32(iy), px - F32(ix)
                o0[x] = v0[x] + _corner_mean(flat0, at, row, plane, a, b, c)
                o1[x] = v1[x] + _corner_mean(flat1, at, row, plane, a, b, c)
                o2[x] = v2[x] + _corner_mean(flat2, at, row, plane, a, b, c)


@nb.njit(parallel=True, **JIT)
def upsample(coarse: Any, out: Any) -> None:
    """Write a (3, z, y, x) voxel field on a finer grid over the same box, in voxels of the finer grid.

    Both grids fill the same box with equal voxels, so centers are mapped by (i + 0.5) * ratio - 0.5.
    """
    zs, ys, xs = out.shape[1:]
    cz, cy, cx = coarse.shape[1:]
    gain = np.array([zs / cz, ys / cy, xs / cx], np.float32)
    columns = np.empty(xs, np.int64)
    shares = np.empty(xs, np.float32)
    for x in range(xs):
        px = min(max((x + 0.5) * cx / xs - 0.5, 0.0), cx - 1.0)
        columns[x] = min(int(px), max(cx - 2, 0))
        shares[x] = px - columns[x]
    for z in nb.prange(zs):
        pz = min(max((z + 0.5) * cz / zs - 0.5, 0.0), cz - 1.0)
        iz = min(int(pz), max(cz - 2, 0))
        jz, a = min(iz + 1, cz - 1), F32(pz - iz)
        mixed = np.empty(cx + 1, np.float32)
        for axis in range(3):
            for y in range(ys):
                py = min(max((y + 0.5) * cy / ys - 0.5, 0.0), cy - 1.0)
                iy = min(int(py), max(cy - 2, 0))
                jy, b = min(iy + 1, cy - 1), F32(py - iy)
                r00, r01 = coarse[axis, iz, iy], coarse[axis, iz, jy]
                r10, r11 = coarse[axis, jz, iy], coarse[axis, jz, jy]
                for x in range(cx):
                    low = r00[x] + b * (r01[x] - r00[x])
                    high = r10[x] + b * (r11[x] - r10[x])
                    mixed[x] = gain[axis] * (low + a * (high - low))
                mixed[cx] = mixed[cx - 1]
                line = out[axis, z, y]
                for x in range(xs):
                    i = columns[x]
                    line[x] = mixed[i] + shares[x] * (mixed[i + 1] - mixed[i])


@nb.njit(inline="always", **JIT)
def _row_start(number: Any, low: Any, high: Any, stride: Any, first: Any) -> Any:
    """Return the flat index of a row; rows outside low..high-1 are those at the border."""
    return nb.uint64(min(max(number, low), high - 1) * stride + first)


@nb.njit(inline="always", **JIT)
def _weighted(
    taps: Any, source: Any, at: Any, low: Any, high: Any, stride: Any, first: Any, out: Any, to: Any, count: Any
) -> None:  # fmt: skip
    """Write the sum of taps[k] * (row at - k + row at + k) to out[to .. to + count - 1]; all arrays are flat.

    Row r of the source begins at r * stride + first, and rows outside low..high-1 repeat the border. Flat unsigned
    indices, because numba counts the references to every slice: that took longer than the sums.
    """
    reach = taps.size - 1
    n, o = nb.uint64(count), nb.uint64(to)
    e = _row_start(at, low, high, stride, first)
    d, f = _row_start(at - 1, low, high, stride, first), _row_start(at + 1, low, high, stride, first)
    t0, t1 = taps[0], taps[1]
    if reach == 1:
        for x in range(n):
            out[o + x] = t0 * source[e + x] + t1 * (source[d + x] + source[f + x])
        return
    t2 = taps[2]
    c, g = _row_start(at - 2, low, high, stride, first), _row_start(at + 2, low, high, stride, first)
    if reach == 2:
        for x in range(n):
            out[o + x] = (
                t0 * source[e + x] + t1 * (source[d + x] + source[f + x]) + t2 * (source[c + x] + source[g + x])
            )
        return
    b, h = _row_start(at - 3, low, high, stride, first), _row_start(at + 3, low, high, stride, first)
    a, i = _row_start(at - 4, low, high, stride, first), _row_start(at + 4, low, high, stride, first)
    t3, t4 = taps[3], taps[min(reach, 4)] * F32(reach > 3)
    for x in range(n):
        out[o + x] = (
            t0 * source[e + x]
            + t1 * (source[d + x] + source[f + x])
            + t2 * (source[c + x] + source[g + x])
            + t3 * (source[b + x] + source[h + x])
            + t4 * (source[a + x] + source[i + x])
        )
    for k in range(5, reach + 1):
        tap = taps[k]
        p, q = _row_start(at - k, low, high, stride, first), _row_start(at + k, low, high, stride, first)
        for x in range(n):
            out[o + x] += tap * (source[p + x] + source[q + x])


@nb.njit(parallel=True, **JIT)
def smooth(
    field: Any, taps_z: Any, taps_y: Any, taps_x: Any, aspect: Any, rows: Any, planes: Any, cuts: Any,
    out: Any, squares: Any,
) -> None:  # fmt: skip
    """Write the Gaussian-smoothed field inside the rows, and the sum of squares of every plane.

    The taps are halves of the kernels, the center first; values outside the grid repeat the border. `aspect` (z, y, x)
    weights the components in the sum of squares; `cuts` are the planes at which the work is divided.
    """
    zs, ys, xs = field.shape[1:]
    reach, reach_y = taps_x.size - 1, taps_y.size - 1
    source, target = field.reshape(field.size), out.reshape(out.size)
    for slab in nb.prange(cuts.size - 1):
        mixed = np.empty(ys * xs, np.float32)
        line = np.empty(xs + 2 * reach, np.float32)
        for z in range(cuts[slab], cuts[slab + 1]):
            y0, y1, x0, x1 = planes[z, 0], planes[z, 1], planes[z, 2], planes[z, 3]
            total = F32(0)
            if y1 <= y0:
                squares[z] = 0
                continue
            left, right = max(x0 - reach, 0), min(x1 + reach, xs)
            top, bottom = max(y0 - reach_y, 0), min(y1 + reach_y, ys)
            for axis in range(3):
                low, plane = axis * zs, axis * zs + z
                for y in range(top, bottom):
                    at = y * xs + left
                    _weighted(taps_z, source, plane, low, low + zs, ys * xs, at, mixed, at, right - left)
                for y in range(y0, y1):
                    start, end = rows[z, y, 0], rows[z, y, 1]
                    if end <= start:
                        continue
                    a, b = max(start - reach, 0), min(end + reach, xs)
                    # line[j] contains column start - reach + j
                    shift = a - (start - reach)
                    _weighted(taps_y, mixed, y, top, bottom, xs, a, line, shift, b - a)
                    for j in range(shift):
                        line[j] = line[shift]
                    for j in range(shift + b - a, end - start + 2 * reach):
                        line[j] = line[shift + b - a - 1]
                    to = (plane * ys + y) * xs + start
                    _weighted(taps_x, line, reach, 0, 2 * reach + 1, 1, 0, target, to, end - start)
                    row_total = F32(0)
                    for x in range(nb.uint64(to), nb.uint64(to + end - start)):
                        row_total += target[x] * target[x]
                    total += row_total * aspect[axis] * aspect[axis]
            squares[z] = total
