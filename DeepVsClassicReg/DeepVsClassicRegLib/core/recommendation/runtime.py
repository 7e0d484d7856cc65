"""How long an engine will take on this machine: measured CPU seconds per megavoxel, scaled by a quick probe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PROBE_SIZE = 4096
PROBE_ROUNDS = 500
PROBES = 12
FACTORS = (0.2, 5.0)


@dataclass(frozen=True)
class EngineSeconds:
    """Measured cost of an engine, its linear start not included.

    Attributes
    ----------
    base, per_megavoxel : float
        CPU seconds = base + per_megavoxel * (10^6 voxels of the fixed volume), on the machine of the measurement.
    wall_per_cpu : float
        Lowest ratio of wall to CPU seconds seen with two threads.
    pairs : int
        Measured.
    """

    base: float
    per_megavoxel: float
    wall_per_cpu: float
    pairs: int

    def cpu_seconds(self, voxels: int, *, factor: float = 1.0) -> float:
        """Return the expected CPU seconds for a fixed volume of so many voxels."""
        return factor * (self.base + self.per_megavoxel * voxels / 1e6)

    def seconds(self, voxels: int, *, factor: float = 1.0, cores: int = 1) -> float:
        """Return the expected wall seconds on an idle machine."""
        return self.cpu_seconds(voxels, factor=factor) * (self.wall_per_cpu if cores > 1 else 1.0)


def fit_seconds(measured: Sequence[tuple[int, float, float]]) -> EngineSeconds:
    """Return the cost of an engine from (voxels, CPU seconds, wall seconds) of its runs.

    The line is Theil and Sen's (medians), which a few runs on a busy machine or with compiling do not move.
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
    """Return the CPU seconds of a fixed small piece of work, the best of twelve.

    It stays within the cache: the engines are bound by arithmetic, and probes of the memory came out at either of two
    speeds a factor of two apart.
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
    """Return how many times slower this machine is than the one of the measurement (0.2 to 5)."""
    return float(np.clip(probe_seconds() / reference, *FACTORS)) if reference > 0 else 1.0


def expected_seconds(
    table: Mapping[str, EngineSeconds], entry: str, voxels: int, *, factor: float, cores: int, start: str = "linear"
) -> float | None:
    """Return the expected wall seconds of an entry with its linear start, None when it was not measured."""
    if entry not in table:
        return None
    own = table[entry].seconds(voxels, factor=factor, cores=cores)
    first = table[start].seconds(voxels, factor=factor, cores=cores) if entry != start and start in table else 0.0
    return own + first
