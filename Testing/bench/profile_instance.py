"""Where the instance engine spends its time: seconds, bytes and operations per kernel against memory bandwidth."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from DeepVsClassicRegLib.core.engines.instance import numba_fields, numba_similarities
from DeepVsClassicRegLib.core.engines.instance.level import region_of, taps
from DeepVsClassicRegLib.core.numba_setup import thread_bound
from DeepVsClassicRegLib.core.transforms import unfold_kernels

F32 = np.float32
RADIUS = 2


def main() -> None:
    """Time every kernel on a brain-sized ball and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(156, 192, 144), help="box, Z Y X")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    shape = tuple(arguments.size)
    print(f"box {shape}, {np.prod(shape) / 1e6:.1f} million voxels")
    walls = {}
    for threads in arguments.threads:
        with thread_bound(threads) as allowed:
            bandwidth = copy_bandwidth(arguments.repeats)
            print(f"\n{allowed} threads; memory copies at {bandwidth / 1e9:.1f} GB/s (one thread)")
            walls[allowed] = one_table(shape, allowed, bandwidth, arguments.repeats)
    if len(walls) > 1:
        first, *others = walls
        for other in others:
            print(f"\n{other} threads are {walls[first] / walls[other]:.2f} times as fast as {first}")


def one_table(shape: tuple[int, ...], threads: int, bandwidth: float, repeats: int) -> float:
    """Print the kernels of one iteration and return its CPU seconds per thread."""
    axes = [np.linspace(-1, 1, n) for n in shape]
    ball = sum(a**2 for a in np.meshgrid(*axes, indexing="ij")) < 0.8
    region = region_of(ball, margin=3)
    rng = np.random.default_rng(0)
    fixed, moving = ((rng.random(shape) * ball).astype(F32) for _ in range(2))
    u, update, out, memory = (np.zeros((3, *shape), F32) for _ in range(4))
    u += F32(0.4)
    mean, variance, warped, weight = (np.ones(shape, F32) for _ in range(4))
    values = np.zeros(shape[0], F32)
    aspect = np.ones(3, F32)
    rows, planes, cuts = region.rows, region.planes, region.cuts(threads)
    wide, narrow = taps(1.5), taps(0.5)
    window = 2 * RADIUS + 1
    # name, call, (volumes read and written at least, operations per voxel)
    kernels: list[tuple[str, Callable[[], object], int, int]] = [
        ("warp", lambda: numba_fields.warp(moving, u, rows, warped), 5, 30),
        (
            "local correlation and force",
            lambda: numba_similarities.lncc_force(
                fixed, warped, mean, variance, weight, RADIUS, F32(1e-5), rows, planes, cuts, update, values
            ),
            8,
            6 * 3 * window + 40,
        ),
        (
            "smooth the force",
            lambda: numba_fields.smooth(update, wide, wide, wide, aspect, rows, planes, cuts, out, values),
            6,
            3 * 3 * 3 * len(wide),
        ),
        (
            "update",
            lambda: numba_fields.update(update, memory, aspect, F32(0.5), F32(1), F32(0.25), rows),
            12,
            20,
        ),
        ("compose", lambda: numba_fields.compose_near(update, u, rows, cuts, out), 9, 250),
        (
            "smooth the field",
            lambda: numba_fields.smooth(u, narrow, narrow, narrow, aspect, rows, planes, cuts, out, values),
            6,
            3 * 3 * 3 * len(narrow),
        ),
        ("determinants (once per level)", lambda: unfold_kernels.smallest_determinants(u, warped), 4, 200),
    ]
    print(f"{region.voxels / 1e6:.2f} million voxels computed")
    print(f"{'kernel':32s}{'wall ms':>9s}{'CPU ms':>9s}{'MB':>7s}{'GB/s':>7s}{'of copy':>9s}{'Gop/s':>8s}")
    total = floor = 0.0
    for name, call, volumes, operations in kernels:
        wall, cpu = timed(call, repeats)
        count = ball.size if name.startswith("determinants") else region.voxels
        moved = 4.0 * volumes * count
        busy = cpu / threads  # a shared machine makes the wall time meaningless
        rate = moved / busy
        print(
            f"{name:32s}{wall * 1e3:9.1f}{cpu * 1e3:9.1f}{moved / 1e6:7.0f}{rate / 1e9:7.1f}"
            f"{100 * rate / bandwidth:8.0f}%{operations * count / busy / 1e9:8.1f}"
        )
        if not name.startswith("determinants"):
            total += busy
            floor += moved / bandwidth
    print(f"one iteration: {total * 1e3:.0f} ms of CPU time per thread")
    print(f"reading and writing every volume once at copy speed: {floor * 1e3:.0f} ms")
    return total


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the best wall and CPU seconds of some calls, after one that compiles."""
    call()
    best = (np.inf, np.inf)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    return best


def copy_bandwidth(repeats: int) -> float:
    """Return bytes per second of copying arrays larger than the caches, reads and writes counted."""
    source = np.ones(40_000_000, F32)
    target = np.empty_like(source)
    _, cpu = timed(lambda: np.copyto(target, source), repeats)
    return 2 * source.nbytes / cpu


if __name__ == "__main__":
    main()
