"""Longitudinal change: volumes of structures over the time points of one subject, with their uncertainty."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SettingsError
from ..evaluation.region import moving_indices
from ..files import atomic, json_digest, jsonable, write_json
from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.io import read_labels, read_volume, write_volume
from ..images.resample import warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..progress import Progress
from ..settings import option
from ..transforms.invert import invert
from ..transforms.jacobian import LOG_FLOOR, jacobian_determinant
from ..transforms.transform import Affine, DisplacementField, Transform
from .atlas_average import facts_of, neighbor_weights
from .atlas_build import WORK
from .atlas_subjects import AtlasSubject
from .atlas_tasks import FileRegistration, matrix_of, register_all, write_whole
from .monitor_space import (
    HalfwaySpace,
    brightened,
    brightness_factors,
    make_space,
    resampled,
    simulated_rescan,
    smoothed,
)

WHOLE = 1
NORMAL_95 = 1.96
DAYS_PER_YEAR = 365.25
# From the median absolute deviation to the standard deviation of a normal distribution.
MAD_TO_SD = 1.4826
# Counted up when registrations of an earlier version must not be continued.
METHOD = 3
# Least uncertainty in percent: the numerical error of integrated determinants.
LEAST_PERCENT = 0.05


@dataclass(frozen=True)
class MonitorSettings:
    """How change is measured."""

    engine: str = option(
        "instance:longitudinal", "Engine", tooltip="Deformable engine, optionally with a preset: 'instance:fast'."
    )
    spacing_mm: float = option(
        0.0,
        "Voxel size",
        unit="mm",
        minimum=0,
        special="automatic",
        tooltip="0: two thirds of the finest of the scans.",
    )
    rescans: bool = option(
        True, "No-change estimate", tooltip="Measures simulated rescans of every time point, which did not change."
    )
    sessions_percent: float = option(
        2.5,
        "Difference of sessions",
        unit="%",
        minimum=0,
        maximum=100,
        tooltip="Standard deviation of the change between two sessions of an unchanged person that noise and position "
        "do not explain: calibration and distortion of the scanner, hydration, brain masks. A part of every interval.",
    )


@dataclass(frozen=True)
class Change:
    """The change of one structure between the first time point and another one.

    Attributes
    ----------
    time : int
        Number of the other time point, from 1 (the second).
    volume_mm3 : float
        Volume at that time point.
    percent : float
        Change against the first time point.
    uncertainty : float
        Half width of the 95 % interval, percentage points.
    forward, backward : float
        Change measured in either direction alone, percent.
    per_year : float or None
        Change in percent per year, when the days are known.
    """

    time: int
    volume_mm3: float
    percent: float
    uncertainty: float
    forward: float
    backward: float
    per_year: float | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the change is larger than its uncertainty."""
        return abs(self.percent) > self.uncertainty


@dataclass(frozen=True)
class StructureTrend:
    """The volume of one structure over time.

    Attributes
    ----------
    label : int
        Label of the segmentation.
    name : str
        Its name.
    first_mm3 : float
        Volume at the first time point.
    no_change : float
        Change measured in simulated rescans, root mean square, percent; NaN when it was not estimated.
    changes : tuple of Change
        One per further time point.
    """

    label: int
    name: str
    first_mm3: float
    no_change: float
    changes: tuple[Change, ...]


@dataclass(frozen=True, eq=False)
class Monitored:
    """The result of monitoring.

    Attributes
    ----------
    folder : Path
        Folder of its files.
    names : tuple of str
        The time points in the user's order.
    days : tuple of float or None
        Days of the time points since the first.
    trends : tuple of StructureTrend
        The structures.
    scans : tuple of Volume
        The time points in the halfway space, intensities 0 to 1000.
    maps : tuple of Volume
        Local change of volume from the first to each further time point, percent, in the middle between both.
    segmentation : LabelMap
        The structures at the first time point, in the halfway space.
    residual : tuple of float
        Correlation of each time point with the first after registration.
    folded_percent : float
        Folded voxels of the worst registration.
    confidence : float
        Lowest confidence of the rigid alignments.
    cpu_seconds : float
        CPU seconds of all registrations.
    settings : MonitorSettings
        How it was measured.
    """

    folder: Path
    names: tuple[str, ...]
    days: tuple[float, ...] | None
    trends: tuple[StructureTrend, ...]
    scans: tuple[Volume, ...]
    maps: tuple[Volume, ...]
    segmentation: LabelMap
    residual: tuple[float, ...]
    folded_percent: float
    confidence: float
    cpu_seconds: float
    settings: MonitorSettings


@dataclass(frozen=True, eq=False)
class _Frame:
    """Structures in the frame of a time point: label maps with the transforms that lead to them."""

    segmentations: tuple[tuple[LabelMap, Transform], ...]


@dataclass(frozen=True, eq=False)
class _Null:
    """What is measured where nothing changed, logarithms per label.

    Attributes
    ----------
    spread : (L,) array
        Root mean square of the change, the mean of both directions.
    asymmetry : (L,) array
        Mean half difference of both directions: a bias that the mean of the directions does not have.
    """

    spread: npt.NDArray[np.float64]
    asymmetry: npt.NDArray[np.float64]


def monitor(
    scans: Sequence[AtlasSubject],
    folder: Path,
    settings: MonitorSettings | None = None,
    *,
    days: Sequence[float] | None = None,
    engine_settings: Mapping[str, Any] | None = None,
    workers: int = 1,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Monitored:
    """Measure the change of structures over two or more scans of one subject.

    All scans are moved to the mean of their positions and resampled once. Every pair is registered in both directions;
    the volume ratio of a structure is the mean Jacobian determinant inside it, and the logarithms of both directions
    and of all pairs are averaged, so that no time point is the reference: another order gives the inverse change. The
    uncertainty contains the difference of both directions (beyond that of unchanged scans), the disagreement of the
    pairs, the change that is measured in simulated rescans, and the difference of sessions that the settings state.

    Parameters
    ----------
    scans : sequence of AtlasSubject
        The time points in their order; those with a label map define the structures. Without any, the whole object.
    folder : Path
        Folder of the results; a run that was stopped is continued.
    settings : MonitorSettings, optional
        Engine, voxel size, no-change estimate.
    days : sequence of float, optional
        Day of every time point, for the change per year.
    engine_settings : mapping, optional
        Settings changed from the preset of the engine.
    workers, threads, seed, progress
        As for `build_atlas`.

    Raises
    ------
    RegistrationError
        When there are fewer than two different scans, days are not increasing, or a registration fails.

    References
    ----------
    Holland and Dale, Med. Image Anal. 15:489-497, 2011, doi 10.1016/j.media.2011.02.005 (both directions); Fox and
    Freeborough, JMRI 7:1069-1075, 1997, doi 10.1002/jmri.1880070620 (boundary shift and no-change error).
    """
    _check(scans, days)
    run = _Run(
        tuple(scans),
        folder,
        settings or MonitorSettings(),
        dict(engine_settings or {}),
        workers,
        threads,
        seed,
        progress,
    )
    return run.result(tuple(float(day) for day in days) if days else None)


def _check(scans: Sequence[AtlasSubject], days: Sequence[float] | None) -> None:
    if len({scan.digest for scan in scans}) < max(2, len(scans)):
        raise SettingsError(
            f"{len(scans)} time points with {len({scan.digest for scan in scans})} different volumes are given.",
            hint="Give two or more different scans of one subject.",
        )
    if days is not None and (len(days) != len(scans) or any(b <= a for a, b in itertools.pairwise(days))):
        raise SettingsError(
            f"The days {list(days)} must increase and be as many as the {len(scans)} time points.",
            hint="Give the days in the order of the time points, such as 0,182,365.",
        )


class _Run:
    """Registrations and measurements of one call, in the order of the digests of the scans."""

    def __init__(
        self,
        given: tuple[AtlasSubject, ...],
        folder: Path,
        settings: MonitorSettings,
        engine_settings: dict[str, Any],
        workers: int,
        threads: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.given, self.folder, self.settings, self.engine_settings = given, folder, settings, engine_settings
        self.workers, self.threads, self.seed = workers, threads, seed
        self.progress = progress or Progress()
        self.scans = tuple(sorted(given, key=lambda scan: scan.digest))
        self.place = [self.scans.index(scan) for scan in given]
        content = [settings.engine, settings.spacing_mm, jsonable(engine_settings), seed]
        key = [METHOD, [scan.digest for scan in self.scans], *content]
        self.work = folder / WORK / json_digest(key)[:12]
        self.work.mkdir(parents=True, exist_ok=True)
        self.cpu_seconds = self.folded_percent = 0.0

    def result(self, days: tuple[float, ...] | None) -> Monitored:
        """Run everything that is missing, write the files and return the result."""
        options = {"workers": self.workers, "threads": self.threads, "seed": self.seed}
        space = make_space(
            self.scans, self.work, spacing_mm=self.settings.spacing_mm, progress=self.progress.part(0, 0.15), **options
        )
        pairs = list(itertools.permutations(range(len(self.scans)), 2))
        files = {pair: (space.compared[pair[0]], space.compared[pair[1]]) for pair in pairs}
        maps = self._registered(files, "Time points", (0.15, 0.55))
        frames = self._frames(space, maps)
        labels, names = self._labels(frames)
        ratios, volumes = self._ratios(space, frames, maps, labels)
        null = self._null_ratios(space, maps, frames, labels)
        trends = self._trends(labels, names, ratios, null, volumes, days)
        return self._written(space, maps, frames, trends, days)

    def _registered(
        self, files: Mapping[tuple[int, int], tuple[Path, Path]], title: str, share: tuple[float, float]
    ) -> dict[tuple[int, int], Transform]:
        """Register all pairs of files in the halfway space and return their transforms."""
        tasks = {
            pair: FileRegistration(
                f"{title} {pair[0] + 1} and {pair[1] + 1}",
                fixed,
                moving,
                self.work / f"{title.lower().replace(' ', '_')}_{pair[0]}_{pair[1]}.h5",
                self.settings.engine,
                self.engine_settings,
                initial=matrix_of(Affine.identity()),
                threads=self.threads,
                seed=self.seed,
            )
            for pair, (fixed, moving) in files.items()
        }
        facts = register_all(
            list(tasks.values()), workers=self.workers, progress=self.progress.part(*share), title=title
        )
        self.cpu_seconds += sum(fact["cpu_seconds"] for fact in facts)
        return {pair: task.transform() for pair, task in tasks.items()}

    def _frames(self, space: HalfwaySpace, maps: Mapping[tuple[int, int], Transform]) -> list[_Frame]:
        """Return the structures of every time point: its own segmentation, or those of the others."""
        own: dict[int, LabelMap] = {
            n: read_labels(scan.labels) for n, scan in enumerate(self.scans) if scan.labels is not None
        }
        if not own:
            for n, file in enumerate(space.files):
                volume = read_volume(file)
                whole = foreground(volume).astype(np.int32) * WHOLE
                own[n] = LabelMap(whole, space.grid, {WHOLE: "Whole object"})
            return [_Frame(((labels, Transform()),)) for _, labels in sorted(own.items())]
        frames = []
        for n in range(len(self.scans)):
            sources = {n: Transform()} if n in own else {k: maps[n, k] for k in own}
            frames.append(_Frame(tuple((own[k], Transform.of([way, space.poses[k]])) for k, way in sources.items())))
        return frames

    def _labels(self, frames: Sequence[_Frame]) -> tuple[tuple[int, ...], dict[int, str]]:
        every = [labels for frame in frames for labels, _ in frame.segmentations]
        names: dict[int, str] = {}
        for labels in every:
            names |= {number: name for number, name in labels.names.items() if number not in names}
        shared = set.intersection(*(set(labels.labels) for labels in every))
        if not shared:
            raise SettingsError(
                "The segmentations have no label in common.", hint="Use the same labels in all of them."
            )
        return tuple(sorted(shared)), names

    def _ratios(
        self,
        space: HalfwaySpace,
        frames: Sequence[_Frame],
        maps: Mapping[tuple[int, int], Transform],
        labels: tuple[int, ...],
    ) -> tuple[dict[tuple[int, int], npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
        """Return the logarithm of the volume ratio of every label for every ordered pair (moving to fixed).

        Also returns the volumes of the labels at every time point, (T, L) in mm3.
        """
        inside = foreground(read_volume(space.files[self.place[0]]))
        found: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
        volumes = []
        for fixed, frame in enumerate(frames):
            others = [moving for moving in range(len(frames)) if moving != fixed]
            determinants = []
            for moving in others:
                self.progress.check()
                determinants.append(jacobian_determinant(maps[fixed, moving], space.grid).array)
                folds = float(100 * (determinants[-1][inside] <= 0).mean())
                self.folded_percent = max(self.folded_percent, folds)
            sums = label_sums(frame.segmentations, space.grid, labels, determinants)
            found |= {(fixed, moving): log for moving, log in zip(others, log_ratios(sums), strict=True)}
            volumes.append(sums[0] * space.grid.voxel_volume_mm3)
        return found, np.array(volumes)

    def _null_ratios(
        self,
        space: HalfwaySpace,
        maps: Mapping[tuple[int, int], Transform],
        frames: Sequence[_Frame],
        labels: tuple[int, ...],
    ) -> _Null | None:
        """Return what is measured in simulated rescans of every time point, which did not change."""
        if not self.settings.rescans:
            return None
        noise = self._noise(space, maps)
        files: dict[tuple[int, int], tuple[Path, Path]] = {}
        for n, scan in enumerate(self.scans):
            path = self.work / f"{scan.digest[:12]}_rescan.nii.gz"
            if not path.is_file():
                volume, facts = read_volume(scan.image), space.facts[n]
                spread = np.sqrt(2) * noise * (facts.high - facts.low) / 1000
                rescan = simulated_rescan(volume, noise=spread, seed=self.seed + n)
                again = resampled(rescan, facts_of(rescan), space.grid, space.poses[n])
                factors = brightness_factors([read_volume(space.files[n]), again])
                with atomic(path, same_ending=True) as draft:
                    write_volume(smoothed(brightened(again, factors[1] / factors[0])), draft)
            files[n, n + len(self.scans)] = (space.compared[n], path)
            files[n + len(self.scans), n] = (path, space.compared[n])
        found = self._registered(files, "Rescans", (0.55, 0.9))
        means, halves = [], []
        for n, frame in enumerate(frames):
            there = jacobian_determinant(found[n, n + len(self.scans)], space.grid).array
            back = jacobian_determinant(found[n + len(self.scans), n], space.grid).array
            logs = log_ratios(label_sums(frame.segmentations, space.grid, labels, (there, back)))
            means.append((logs[0] - logs[1]) / 2)
            halves.append((logs[0] + logs[1]) / 2)
        return _Null(np.sqrt(np.mean(np.square(means), axis=0)), np.mean(halves, axis=0))

    def _noise(self, space: HalfwaySpace, maps: Mapping[tuple[int, int], Transform]) -> float:
        """Return the standard deviation of the noise of a scan, from what differs after registration."""
        found = []
        for (fixed, moving), transform in maps.items():
            first, second = read_volume(space.files[fixed]), read_volume(space.files[moving])
            gap = (warp_volume(second, space.grid, transform).array - first.array)[foreground(first)]
            found.append(MAD_TO_SD * float(np.median(np.abs(gap - np.median(gap)))) / np.sqrt(2))
        return float(np.median(found))

    def _trends(
        self,
        labels: tuple[int, ...],
        names: Mapping[int, str],
        ratios: Mapping[tuple[int, int], npt.NDArray[np.float64]],
        null: _Null | None,
        volumes: npt.NDArray[np.float64],
        days: tuple[float, ...] | None,
    ) -> tuple[StructureTrend, ...]:
        count = len(self.scans)
        mean = {(i, j): (ratios[i, j] - ratios[j, i]) / 2 for i, j in ratios}
        # Least squares of v_j - v_i = mean_ij over all pairs, with the v adding up to zero.
        level = np.array(
            [sum((mean[i, j] for i in range(count) if i != j), np.zeros(len(labels))) for j in range(count)]
        )
        level /= count
        anchor = np.log(np.maximum(volumes, 1e-9)).mean(axis=0)
        size = np.exp(anchor + level)
        no_change = np.full(len(labels), np.nan) if null is None else null.spread
        # Both directions measure a little too small a volume of what moves; their mean does not.
        expected = np.zeros(len(labels)) if null is None else null.asymmetry
        first = self.place[0]
        trends = []
        for k, label in enumerate(labels):
            changes = []
            for time, other in enumerate(self.place[1:], 1):
                log_change = float(level[other, k] - level[first, k])
                forward, backward = float(ratios[first, other][k]), float(-ratios[other, first][k])
                parts = [(forward - backward) / 2 - float(expected[k]), (forward + backward) / 2 - log_change]
                parts += [] if null is None else [float(no_change[k])]
                parts.append(self.settings.sessions_percent / 100)
                spread = 100 * NORMAL_95 * float(np.sqrt(np.sum(np.square(parts)))) * np.exp(log_change)
                changes.append(
                    Change(
                        time,
                        float(size[other, k]),
                        percent_of(log_change),
                        max(float(spread), LEAST_PERCENT),
                        percent_of(forward),
                        percent_of(backward),
                        _per_year(log_change, days, time),
                    )
                )
            name = names.get(label, f"Label {label}")
            trends.append(StructureTrend(label, name, float(size[first, k]), 100 * float(no_change[k]), tuple(changes)))
        return tuple(trends)

    def _written(
        self,
        space: HalfwaySpace,
        maps: Mapping[tuple[int, int], Transform],
        frames: Sequence[_Frame],
        trends: tuple[StructureTrend, ...],
        days: tuple[float, ...] | None,
    ) -> Monitored:
        self.progress.report(0.92, "Writing the maps")
        scans = tuple(read_volume(space.files[place], name=self.scans[place].name) for place in self.place)
        first = self.place[0]
        inside = foreground(scans[0])
        charts, residual = [], []
        for time, other in enumerate(self.place[1:], 1):
            charts.append(change_map(maps[first, other], maps[other, first], space.grid))
            write_volume(charts[-1], self.folder / f"change_{time + 1}.nii.gz")
            write_whole(maps[first, other], self.folder / f"time_1_to_{time + 1}.h5")
            warped = warp_volume(scans[time], space.grid, maps[first, other]).array
            residual.append(float(np.corrcoef(warped[inside], scans[0].array[inside])[0, 1]))
        for time, (scan, place) in enumerate(zip(scans, self.place, strict=True), 1):
            write_volume(scan, self.folder / f"time_{time}.nii.gz")
            write_whole(Transform((space.poses[place],)), self.folder / f"space_to_time_{time}.tfm")
        segmentation = structures_on(frames[first].segmentations, space.grid, tuple(t.label for t in trends))
        write_volume(segmentation, self.folder / "structures.nii.gz")
        found = Monitored(
            self.folder,
            tuple(scan.name for scan in self.given),
            days,
            trends,
            scans,
            tuple(charts),
            segmentation,
            tuple(residual),
            self.folded_percent,
            space.confidence,
            self.cpu_seconds + space.cpu_seconds,
            self.settings,
        )
        write_json(self.folder / "monitor.json", monitor_json(found))
        self.progress.report(1.0, "Change measured")
        return found


def label_sums(
    segmentations: Sequence[tuple[LabelMap, Transform]],
    grid: Grid,
    labels: tuple[int, ...],
    values: Sequence[npt.NDArray[np.float32]],
) -> npt.NDArray[np.float64]:
    """Return the sums over a grid of the share of every label, and of its products with other values.

    The label maps are interpolated linearly, one map per label, and averaged.

    Parameters
    ----------
    segmentations : sequence of (LabelMap, Transform)
        Label maps and the transforms from points of the grid to their points.
    grid : Grid
        The grid.
    labels : tuple of int
        Ascending labels.
    values : sequence of (Z, Y, X) arrays
        Values on the grid.

    Returns
    -------
    array of shape (1 + len(values), len(labels))
    """
    total = np.zeros((1 + len(values), len(labels) + 1))
    wanted = np.array(labels)
    for segmentation, transform in segmentations:
        place = np.clip(np.searchsorted(wanted, segmentation.array), 0, len(labels) - 1)
        codes = np.where(wanted[place] == segmentation.array, place, len(labels))
        size = np.array(segmentation.grid.size)
        cells = _cells_with_label(codes < len(labels))
        affine = transform.affine
        mapping = transform.displacement_on(grid) if affine is None else affine
        for rows, index in moving_indices(grid, segmentation.grid, mapping):
            low = np.floor(index).astype(np.int64)
            # Most voxels are far from every label.
            near = np.flatnonzero(((low >= -1) & (low < size)).all(axis=1))
            i, j, k = (low[near] + 1).T
            near = near[cells[k, j, i]]
            flat = [np.asarray(value[rows]).reshape(-1)[near] for value in values]
            for code, weight in neighbor_weights(codes, index[near], outside=len(labels)):
                for row, factor in enumerate((None, *flat)):
                    product = weight if factor is None else weight * factor
                    total[row] += np.bincount(code, product, minlength=len(labels) + 1)
    return total[:, :-1] / len(segmentations)


def _cells_with_label(is_labeled: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which cells of 8 neighboring voxels have a labeled one; the first cell begins before the first voxel."""
    cells = np.pad(is_labeled, 1)
    for axis in range(3):
        ahead = np.moveaxis(cells, axis, 0)
        cells = np.moveaxis(ahead[:-1] | ahead[1:], 0, axis)
    return cells


def log_ratios(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of the mean determinants inside every label: its volume there relative to that here.

    Parameters
    ----------
    sums : (1 + N, L) array
        From `label_sums` with N determinants.

    Returns
    -------
    (N, L) array
    """
    return np.asarray(np.log(np.maximum(sums[1:], LOG_FLOOR) / np.maximum(sums[0], LOG_FLOOR)))


def change_map(forward: Transform, backward: Transform, grid: Grid) -> Volume:
    """Return the local change of volume in percent, from both directions, in the middle between both time points.

    Parameters
    ----------
    forward, backward : Transform
        Maps from the first to the second time point and back, on the grid of the halfway space.
    grid : Grid
        That grid.
    """
    there = np.log(np.maximum(jacobian_determinant(forward, grid).array, LOG_FLOOR))
    back = np.log(np.maximum(jacobian_determinant(backward, grid).array, LOG_FLOOR))
    moved = warp_volume(Volume(back, grid), grid, forward, fill=0.0).array
    both = Volume(((there - moved) / 2).astype(np.float32), grid)
    half = DisplacementField(forward.displacement_on(grid).array_mm * np.float32(0.5), grid)
    # A map is looked at: a tenth of a voxel is enough, which few steps reach where displacements are small.
    to_first = invert(Transform((half,)), grid, iterations=8, tolerance_mm=0.1 * min(grid.spacing_mm)).transform
    logs = warp_volume(both, grid, to_first, fill=0.0).array
    return Volume(100 * np.expm1(logs), grid, "change")


def structures_on(segmentations: Sequence[tuple[LabelMap, Transform]], grid: Grid, labels: tuple[int, ...]) -> LabelMap:
    """Return the structures on a grid, from the first label map, nearest neighbor."""
    source, transform = segmentations[0]
    warped = warp_labels(source, grid, transform)
    kept = np.where(np.isin(warped.array, labels), warped.array, 0)
    return LabelMap(kept, grid, source.names, "structures")


def percent_of(log_change: float) -> float:
    """Return a logarithmic change in percent."""
    return 100 * float(np.expm1(log_change))


def monitor_json(found: Monitored) -> dict[str, Any]:
    """Return the content of monitor.json."""
    return jsonable(
        {
            "time_points": found.names,
            "days": found.days,
            "structures": found.trends,
            "correlation": found.residual,
            "folded_percent": found.folded_percent,
            "confidence": found.confidence,
            "cpu_seconds": found.cpu_seconds,
            "settings": found.settings,
        }
    )


def _per_year(log_change: float, days: tuple[float, ...] | None, time: int) -> float | None:
    if days is None:
        return None
    return percent_of(log_change * DAYS_PER_YEAR / (days[time] - days[0]))
