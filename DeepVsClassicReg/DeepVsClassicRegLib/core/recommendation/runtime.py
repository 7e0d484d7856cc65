"""Expected run time of an engine on this computer: measured CPU seconds per megavoxel, scaled by a short speed test."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .rules import LINEAR

PROBE_SIZE = 4096
PROBE_ROUNDS = 500
PROBES = 12
FACTORS = (0.2, 5.0)


@dataclass(frozen=True)
class EngineSeconds:
    """Measured run time of an engine without its linear start.

    Attributes
    ----------
    base, per_megavoxel : float
        CPU seconds = base + per_megavoxel * (10^6 voxels of the fixed volume), on the computer of the measurement.
    wall_per_cpu : float
        Lowest measured ratio of wall to CPU seconds with two threads.
    pairs : int
        Number of measured pairs.
    """

    base: float
    per_megavoxel: float
    wall_per_cpu: float
    pairs: int

    def cpu_seconds(self, voxels: int, *, factor: float = 1.0) -> float:
        """Return the expected CPU seconds for a fixed volume of so many voxels."""
        return factor * (self.base + self.per_megavoxel * voxels / 1e6)

    def seconds(self, voxels: int, *, factor: float = 1.0, cores: int = 1) -> float:
        """Return the expected wall time in seconds on an idle computer."""
        return self.cpu_seconds(voxels, factor=factor) * (self.wall_per_cpu if cores > 1 else 1.0)


def fit_seconds(measured: Sequence[tuple[int, float, float]]) -> EngineSeconds:
    """Return the run time model of an engine from (voxels, CPU seconds, wall seconds) of its runs.

    The line is fitted by the Theil-Sen estimator (medians), which is robust to a few slow runs on a busy computer.
    """
    size = np.array([voxels / 1e6 for voxels, _, _ in measured])
    cpu = np.array([seconds for _, seconds, _ in measured])
    slopes = [
        (cpu[j] - cpu[i]) / (size[j] - size[i])
        for i in range(len(size))
        for j in range(i)
        if abs(size[i] - size[j]) > 0.5
    ]
    slope = max(float(np.median(slopes)), 0.0) if slopes else 0.0
    base = max(float(np.median(cpu - slope * size)), 0.0)
    ratio = min((wall / seconds for _, seconds, wall in measured if seconds > 0), default=1.0)
    return EngineSeconds(base, slope, float(np.clip(ratio, 0.5, 1.5)), len(measured))


def probe_seconds() -> float:
    """Return the CPU seconds of a fixed small computation, the best of twelve.

    Its data fit into the cache: the engines are limited by arithmetic, and memory tests gave two speeds that differ
    by a factor of two.
    """
    line = np.linspace(0, 1, PROBE_SIZE, dtype=np.float32)
    out = np.empty_like(line)
    best = np.inf
    for _ in range(PROBES):
        began = time.process_time()
        for _ in range(PROBE_ROUNDS):
            np.multiply(line, np.float32(0.5), out=out)
            np.add(out, line, out=out)
            np.sqrt(out, out=out)
        best = min(best, time.process_time() - began)
    return float(best)


def machine_factor(reference: float) -> float:
    """Return how many times slower this computer is than that of the measurement (0.2 to 5)."""
    return float(np.clip(probe_seconds() / reference, *FACTORS)) if reference > 0 else 1.0


def expected_seconds(
    table: Mapping[str, EngineSeconds], entry: str, voxels: int, *, factor: float, cores: int
) -> float | None:
    """Return the expected wall time of an entry with its linear start in seconds, None when it was not measured."""
    if entry not in table:
        return None
    own = table[entry].seconds(voxels, factor=factor, cores=cores)
    if entry == LINEAR or LINEAR not in table:
        return own
    return own + table[LINEAR].seconds(voxels, factor=factor, cores=cores)
