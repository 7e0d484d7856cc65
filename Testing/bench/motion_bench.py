"""Motion correction of a breathing phantom: landmark error per frame, seconds per frame, cancel. Writes MOTION.md.

Usage: python Testing/bench/motion_bench.py [--size 64] [--frames 10] [--engine instance] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from DeepVsClassicRegLib.core.device import machine
from DeepVsClassicRegLib.core.errors import Cancelled
from DeepVsClassicRegLib.core.motion.correct import CorrectedMotion, correct_motion
from DeepVsClassicRegLib.core.motion.settings import MotionSettings
from DeepVsClassicRegLib.core.phantom.breathing import make_breathing, write_breathing
from DeepVsClassicRegLib.core.progress import Progress

PAGE = Path(__file__).with_name("MOTION.md")
STOP_AFTER = 3


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--engine", default="instance")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp())
    phantom = make_breathing(given.frames, size=given.size)
    files = write_breathing(phantom, work / "phantom")
    base = MotionSettings(engine=given.engine, cyclic=True, rounds=1)
    # The first registration of a computer compiles kernels; it is not measured.
    with contextlib.suppress(Cancelled):
        correct_motion([files["series"]], work / "warm", base, threads=1, progress=stopping(1))
    runs = {
        "1 worker": timed(files, work / "one", base, workers=1),
        "2 workers": timed(files, work / "two", base, workers=2),
    }
    one = work / "one"
    variants = {
        "to frame 0": runs["1 worker"][0],
        "smooth, 0.7 frames": again(files, one, replace(base, smooth_frames=0.7)),
        "smooth, 1.0 frame": again(files, one, replace(base, smooth_frames=1.0)),
        "start from the neighbor": timed(files, work / "neighbor", replace(base, start="neighbor"), workers=2)[0],
        "to the mean": timed(files, work / "mean", replace(base, reference="mean"), workers=2)[0],
    }
    stopped = canceled(files, work / "canceled", base)
    PAGE.write_text(page(given, runs, variants, stopped), encoding="utf-8")


def stopping(frames: int) -> Progress:
    """Return a progress that cancels after some frames are finished."""
    seen: list[str] = []
    return Progress(lambda update: seen.append(update.stage) if ": frame" in update.stage else None,
                    cancelled=lambda: len(set(seen)) >= frames)  # fmt: skip


def timed(
    files: dict[str, Path], folder: Path, settings: MotionSettings, *, workers: int
) -> tuple[CorrectedMotion, float, float, float]:
    """Return the result of a complete run, its wall seconds, its CPU seconds, and the load before it."""
    shutil.rmtree(folder, ignore_errors=True)
    load, clock, cpu = os.getloadavg()[0], time.perf_counter(), cpu_of_all()
    found = again(files, folder, settings, workers=workers)
    return found, time.perf_counter() - clock, cpu_of_all() - cpu, load


def again(files: dict[str, Path], folder: Path, settings: MotionSettings, *, workers: int = 1) -> CorrectedMotion:
    """Return the result of a run; finished registrations are not repeated."""
    return correct_motion([files["series"]], folder, settings, landmarks=files["landmarks"], workers=workers, threads=1)


def cpu_of_all() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class CanceledRun:
    """What a canceled run left.

    Attributes
    ----------
    kept : list of str
        Names of the transforms.
    end_seconds : float
        Wall seconds from the cancel to the end of the run.
    rest_cpu_seconds : float
        CPU seconds of the next call, which goes on.
    load : float
        Load before.
    """

    kept: list[str]
    end_seconds: float
    rest_cpu_seconds: float
    load: float


def canceled(files: dict[str, Path], folder: Path, settings: MotionSettings) -> CanceledRun:
    """Cancel a run with two workers after `STOP_AFTER` frames, and run it again to its end."""
    shutil.rmtree(folder, ignore_errors=True)
    load, stopper, times = os.getloadavg()[0], stopping(STOP_AFTER), []

    def is_canceled() -> bool:
        if stopper.cancelled() and not times:
            times.append(time.perf_counter())
        return bool(times)

    with contextlib.suppress(Cancelled):
        progress = Progress(stopper.listener, cancelled=is_canceled)
        correct_motion([files["series"]], folder, settings, workers=2, threads=1, progress=progress)
    seconds = time.perf_counter() - times[0]
    kept = sorted(path.stem for path in (folder / "transforms").glob("frame_*.h5"))
    cpu = cpu_of_all()
    again(files, folder, settings)
    return CanceledRun(kept, seconds, cpu_of_all() - cpu, load)


def page(
    given: argparse.Namespace,
    runs: dict[str, tuple[CorrectedMotion, float, float, float]],
    variants: dict[str, CorrectedMotion],
    stopped: CanceledRun,
) -> str:
    """Return MOTION.md."""
    count = given.frames - 1
    spacing, about = 320 / given.size, machine()
    computer = f"{about['processor']} with {about['cores']} cores, Python {about['python']}"
    lines = [
        "# Motion correction of a breathing phantom",
        "",
        f"Written by `Testing/bench/motion_bench.py --size {given.size} --frames {given.frames} --engine "
        f"{given.engine}` on {computer}. The computer was shared with other computations (load below), so CPU seconds "
        "come first; wall times are those of that load.",
        "",
        f"Lung phantom, {given.frames} frames of one breathing cycle, {given.size}³ voxels of {spacing:.1f} mm, 28 "
        "exact landmarks per frame (heart, spine, lungs). All frames are registered to frame 0 (end of expiration).",
        "",
        "## Landmark error per frame, mm",
        "",
        "| frame | before | " + " | ".join(variants) + " |",
        "|---" * (2 + len(variants)) + "|",
    ]
    columns = list(variants.values())
    for number in range(given.frames):
        before = columns[0].frames[number].tre_before_mm
        cells = [_mm(before), *(_mm(found.frames[number].tre_after_mm) for found in columns)]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    means = [_mean(columns[0], "tre_before_mm"), *(_mean(found, "tre_after_mm") for found in columns)]
    lines.append("| mean | " + " | ".join(f"{value:.2f}" for value in means) + " |")
    lines += [
        "",
        "With the mean of all frames as reference frame 0 moves too, and a landmark's place in the reference is the "
        "mean of those found from all frames; before, the error to the mean place is "
        f"{_mean(columns[-1], 'tre_before_mm'):.2f} mm.",
        "",
        "## Time per frame",
        "",
        "| | CPU s per frame, registration | CPU s per frame, all | wall s per frame | load before |",
        "|---|---|---|---|---|",
    ]
    for name, (found, wall, cpu, load) in runs.items():
        own = found.cpu_seconds / count
        lines.append(f"| {name} | {own:.1f} | {cpu / count:.1f} | {wall / count:.1f} | {load:.0f} |")
    ratio = runs["1 worker"][1] / runs["2 workers"][1]
    lines += [
        "",
        f"Two workers: {ratio:.2f} times as fast (wall, start of the processes included). *All* contains reading, "
        "start of processes, resampling, measures and writing.",
        "",
        "## Cancel",
        "",
        f"Canceled after {STOP_AFTER} finished frames with two workers: the run ended {stopped.end_seconds:.2f} s "
        f"later (load {stopped.load:.0f}) and kept {len(stopped.kept)} transforms ({', '.join(stopped.kept)}); frames "
        "in progress are stopped and waiting ones do not begin. The next call repeated none of those kept and needed "
        f"{stopped.rest_cpu_seconds:.0f} CPU s for the other {count - len(stopped.kept)} frames and the outputs.",
        "",
    ]
    return "\n".join(lines)


def _mean(found: CorrectedMotion, name: str) -> float:
    values: Sequence[float | None] = [getattr(frame, name) for frame in found.frames]
    return float(np.mean([value for value in values if value is not None]))


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
