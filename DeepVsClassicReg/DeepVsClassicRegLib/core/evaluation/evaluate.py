"""Evaluates a registration: all measures before and after, computed by the same code for every engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..device import available_cores, cpu_seconds, sitk_threads
from ..errors import SettingsError, did_you_mean
from ..images.intensity import background_value
from ..images.resample import image_from_array, to_sitk, warp_labels
from ..images.volume import LabelMap, Volume
from ..pair import Pair, marked_pair
from ..progress import Progress
from ..result import Result
from ..transforms.jacobian import field_jacobian, regularity
from ..transforms.transform import DisplacementField, Transform
from .consistency import round_trip_measures
from .error_map import ErrorMap
from .landmarks import landmark_measures
from .locations import Location, Locations, Mismatch, locations_of, mismatches_of
from .measures import FAMILIES, LATER, MEASURES
from .region import Ready, Sampled, fixed_region, slab_of, slabs, warped_array
from .segmentations import (
    Codes,
    Memberships,
    Scored,
    SoftOverlap,
    Surfaces,
    hard_overlap,
    scored_labels,
    surface_measures,
)
from .similarity import Agreement, SimilarityRegion, local_agreement

MOST_CHANGE = 10.0
LARGEST_DOUBLED = 1 << 30
MOST_AT_ONCE = 1 << 23  # voxels
LATER_STAGE = f"Measuring {', '.join(LATER.values())}"


@dataclass(frozen=True, eq=False)
class Column:
    """The measures of one transform; of the final one also the volumes, and the surfaces when those are for later."""

    values: dict[str, Any]
    warped: Volume | None = None
    labels: LabelMap | None = None
    jacobian: Volume | None = None
    locations: Locations = field(default_factory=Locations)
    surfaces: Surfaces | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """Input of the label measures: the evaluated labels and the fixed label map, coded on the fixed grid."""

    scored: Scored
    fixed: Codes
    moving: LabelMap


class Evaluator:
    """Measures transforms of one pair.

    Parameters
    ----------
    pair : Pair
        Volumes, segmentations and landmarks.
    labels : sequence of int or None
        Labels to evaluate; all when None.
    families : set of str
        Families of measures to compute.
    threads : int
        Maximum number of CPU threads.
    in_steps : bool
        Whether the families `LATER` are only prepared.
    """

    def __init__(
        self,
        pair: Pair,
        labels: Sequence[int] | None,
        families: frozenset[str],
        *,
        threads: int = 1,
        in_steps: bool = False,
    ) -> None:
        self.pair = pair = marked_pair(pair)
        self.families, self.threads, self.in_steps = families, threads, in_steps
        self.region, self.region_name = fixed_region(pair)
        self.fill = background_value(pair.moving)
        self.similarity = (
            SimilarityRegion.of(pair.fixed, pair.moving, self.region) if "similarity" in families else None
        )
        self.labels, self.notes = _prepared_labels(pair, labels)
        self.memberships = (
            Memberships.of(self.labels.moving, self.labels.scored) if self.labels and "overlap" in families else None
        )
        spacing = pair.fixed.grid.spacing_mm
        self.surfaces = (
            Surfaces.of(self.labels.fixed, self.labels.scored, spacing)
            if self.labels and "surface" in families
            else None
        )
        self.images = _Images.of(pair, self.memberships.mixed if self.memberships else None)

    def column(self, transform: Transform, *, final: bool = False) -> Column:
        """Return all measures of a transform; regularity and round-trip error only for the final one."""
        ready = Ready(transform)
        sampling = self._sampled(transform, ready, final=final)
        wants_round_trip = final and "consistency" in self.families
        round_trip = (
            round_trip_measures(transform, self.pair.fixed.grid, self.region, ready) if wants_round_trip else {}
        )
        del ready  # twice as large as the field
        agreement = self._agreement(sampling)
        warped = self._warped_surfaces(sampling)
        values = {
            **self._label_measures(sampling, None if self.in_steps else warped),
            **self._landmark_measures(transform),
            **self._intensity_measures(sampling, agreement),
        }
        if final and "regularity" in self.families and sampling.jacobian is not None:
            found = regularity(sampling.jacobian, self.region)
            values |= {
                "folding_percent": found.folding_percent,
                "implausible_percent": _implausible_percent(sampling.jacobian, self.region),
                "sd_log_jacobian": found.sd_log_jacobian,
                "jacobian_min": found.lowest,
                "jacobian_max": found.highest,
            }
        values |= round_trip
        if final:
            evaluated = sampling.jacobian if "regularity" in self.families else None
            found_at = self._mismatches(sampling)
            locations = locations_of(self.pair, values, jacobian=evaluated, inside=self.region, mismatches=found_at)
            return Column(
                values, sampling.warped, sampling.warped_labels, sampling.jacobian, locations, surfaces=warped
            )
        return Column(values, surfaces=warped)

    def _sampled(self, transform: Transform, ready: Ready, *, final: bool) -> _Sampling:
        """Sample the transform once per slab of the fixed grid and use the samples for all measures.

        The warped segmentation and the Jacobian are kept of the final transform only.
        """
        grid, linear = self.pair.fixed.grid, transform.affine
        sampling = _Sampling(self, with_labels=final)
        jacobian = np.empty(grid.shape, dtype=np.float32) if final else None
        for part in slabs(grid):
            if linear is not None:
                sampling.add(part, linear)
                continue
            wide = ready.displacement_on(slab_of(grid, part, margin=1))
            first = part.start - max(part.start - 1, 0)
            inner = slice(first, first + part.stop - part.start)
            if jacobian is not None:
                jacobian[part] = field_jacobian(wide).array[inner]
            sampling.add(part, DisplacementField(wide.array_mm[inner], slab_of(grid, part)))
        if jacobian is not None and linear is not None:
            jacobian[:] = np.linalg.det(linear.matrix)
        sampling.jacobian = None if jacobian is None else Volume(jacobian, grid, "Jacobian")
        return sampling

    def _warped_surfaces(self, sampling: _Sampling) -> Surfaces | None:
        if self.surfaces is None or self.labels is None or sampling.codes is None:
            return None
        return Surfaces.of(sampling.codes, self.labels.scored, self.pair.fixed.grid.spacing_mm)

    def _label_measures(self, sampling: _Sampling, surfaces: Surfaces | None) -> dict[str, Any]:
        if self.labels is None or sampling.codes is None:
            return {}
        values: dict[str, Any] = {}
        if "overlap" in self.families:
            values |= hard_overlap(self.labels.fixed, sampling.codes, self.labels.scored)
        if sampling.soft is not None:
            values |= sampling.soft.measures()
        if self.surfaces is not None and surfaces is not None:
            values |= surface_measures(self.surfaces, surfaces, self.labels.scored, threads=self.threads)
        return values

    def _landmark_measures(self, transform: Transform) -> dict[str, Any]:
        pair = self.pair
        if "landmarks" not in self.families or pair.fixed_points is None or pair.moving_points is None:
            return {}
        return landmark_measures(transform, pair.fixed_points, pair.moving_points)

    def _agreement(self, sampling: _Sampling) -> Agreement | None:
        if self.similarity is None:
            return None
        fixed = self.pair.fixed
        return local_agreement(fixed.array, sampling.warped.array, self.region & sampling.seen)

    def _mismatches(self, sampling: _Sampling) -> list[Mismatch]:
        if self.similarity is None:
            return []
        fixed = self.pair.fixed
        return mismatches_of(fixed.array, sampling.warped.array, self.region & sampling.seen, fixed.grid)

    def _intensity_measures(self, sampling: _Sampling, agreement: Agreement | None) -> dict[str, Any]:
        if self.similarity is None or agreement is None:
            return {}
        local = {"local_agreement": agreement.mean, "sharpness": agreement.sharpness}
        return {**self.similarity.measures(sampling.warped, sampling.seen), **local}


class _Sampling:
    """The warped volumes of a transform, filled slab by slab, and what is counted in them.

    Attributes
    ----------
    seen : (Z, Y, X) bool array
        Voxels mapped into the moving field of view.
    labels, codes : (Z, Y, X) arrays or None
        The warped segmentation, where it is wanted (`with_labels`), and the codes of the evaluated labels in it.
    """

    jacobian: Volume | None = None

    def __init__(self, evaluator: Evaluator, *, with_labels: bool) -> None:
        self._evaluator = evaluator
        self._pair = pair = evaluator.pair
        shape = pair.fixed.grid.shape
        self._array = np.empty(shape, dtype=np.float32)
        self.seen = np.empty(shape, dtype=bool)
        kept = with_labels and pair.moving_labels is not None
        self.labels = np.empty(shape, dtype=np.int32) if kept else None
        self.codes = None if evaluator.labels is None else np.empty(shape, dtype=np.uint16)
        self.soft: SoftOverlap | None = None
        if evaluator.memberships is not None:
            self.soft = SoftOverlap(evaluator.memberships)

    @property
    def warped(self) -> Volume:
        """The moving volume on the fixed grid."""
        return Volume(self._array, self._pair.fixed.grid, f"{self._pair.moving.name} warped")

    @property
    def warped_labels(self) -> LabelMap | None:
        """The moving segmentation on the fixed grid."""
        moving = self._pair.moving_labels
        if moving is None or self.labels is None:
            return None
        return dataclasses.replace(moving, array=self.labels, grid=self._pair.fixed.grid, name=f"{moving.name} warped")

    def add(self, part: slice, mapping: Sampled) -> None:
        """Add the slices of a range of z; a field must be defined on them."""
        evaluator, grid = self._evaluator, slab_of(self._pair.fixed.grid, part)
        linear, nearest = sitk.sitkLinear, sitk.sitkNearestNeighbor
        array = warped_array(evaluator.images.moving, grid, mapping, interpolator=linear, fill=np.nan)
        self.seen[part] = seen = ~np.isnan(array)
        array[~seen] = evaluator.fill
        self._array[part] = array
        if evaluator.images.measured is not None:
            self.seen[part] &= warped_array(evaluator.images.measured, grid, mapping, interpolator=nearest, fill=0) > 0
        if evaluator.images.labels is None or (self.labels is None and self.codes is None):
            return
        marked = warped_array(evaluator.images.labels, grid, mapping, interpolator=nearest, fill=0)
        labels = marked >> 1
        if self.labels is not None:
            self.labels[part] = labels
        if self.codes is None or evaluator.labels is None:
            return
        self.codes[part] = evaluator.labels.scored.codes(labels)
        if self.soft is not None:
            self.soft.add(evaluator.labels.fixed[part], self.codes[part], (marked & 1) > 0, grid, mapping)


@dataclass(frozen=True, eq=False)
class _Images:
    """The moving data as SimpleITK images, converted once for all transforms.

    Attributes
    ----------
    moving : Image
        The volume.
    measured : Image or None
        1 in measured voxels; None when all are.
    labels : Image or None
        Twice the label, plus 1 in mixed voxels (`Memberships.mixed`).
    """

    moving: sitk.Image
    measured: sitk.Image | None
    labels: sitk.Image | None

    @classmethod
    def of(cls, pair: Pair, mixed: npt.NDArray[np.bool_] | None) -> _Images:
        """Return the images of a pair."""
        moving, labels = pair.moving, pair.moving_labels
        measured = None if moving.valid is None else image_from_array(moving.valid.astype(np.uint8), moving.grid)
        marked = None
        if labels is not None:
            largest = max(-int(labels.array.min()), int(labels.array.max()))
            doubled: npt.NDArray[Any] = labels.array.astype(np.int32 if largest < LARGEST_DOUBLED else np.int64)
            doubled *= 2
            if mixed is not None:
                doubled += mixed
            marked = image_from_array(doubled, labels.grid)
        return cls(to_sitk(moving), measured, marked)


def _implausible_percent(jacobian: Volume, inside: npt.NDArray[np.bool_]) -> float:
    """Return the percentage of voxels whose volume changes by more than a factor of ten."""
    values = jacobian.array[inside]
    return float(100.0 * np.mean((values < 1 / MOST_CHANGE) | (values > MOST_CHANGE)))


def _prepared_labels(pair: Pair, labels: Sequence[int] | None) -> tuple[Labels | None, tuple[str, ...]]:
    if pair.fixed_labels is None or pair.moving_labels is None:
        return None, ()
    fixed, notes = pair.fixed_labels, []
    if not fixed.grid.same_as(pair.fixed.grid):
        fixed = warp_labels(fixed, pair.fixed.grid)
        notes.append("The fixed segmentation was resampled on the grid of the fixed volume (nearest neighbor).")
    scored, remarks = scored_labels(fixed, pair.moving_labels, labels)
    if not scored.labels:
        return None, (*notes, *remarks, "No label exists in both segmentations, so the overlap is not evaluated.")
    return Labels(scored, scored.codes(fixed.array), pair.moving_labels), (*notes, *remarks)


def lost_label_note(values: dict[str, Any], column: str) -> tuple[str, ...]:
    """Return a note when labels vanish, because they have no distance and are excluded from its mean."""
    lost = int(values.get("labels_lost", 0))
    if not lost:
        return ()
    return (f"{column}: {lost} label(s) are outside the fixed volume: Dice 0, excluded from mean distances.",)


@dataclass(frozen=True, eq=False)
class Postponed:
    """Input of the measures that follow later: the boundaries of the labels, without volumes.

    Attributes
    ----------
    scored : Scored
        The evaluated labels.
    fixed : Surfaces
        Those of the fixed segmentation.
    warped : mapping of str to Surfaces
        'before', 'after' and maybe 'start' -> those of the warped segmentation.
    """

    scored: Scored
    fixed: Surfaces
    warped: Mapping[str, Surfaces]

    @classmethod
    def of(cls, evaluator: Evaluator, columns: Mapping[str, Column | None]) -> Postponed | None:
        """Return what the columns have for later; None when nothing follows."""
        if not evaluator.in_steps or evaluator.surfaces is None or evaluator.labels is None:
            return None
        warped = {name: column.surfaces for name, column in columns.items() if column and column.surfaces}
        return cls(evaluator.labels.scored, evaluator.surfaces, warped)

    def measures(self, column: str, *, threads: int) -> dict[str, Any]:
        """Return the measures of a column; empty when there is no such column."""
        warped = self.warped.get(column)
        return {} if warped is None else surface_measures(self.fixed, warped, self.scored, threads=threads)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measures of a registration and the volumes computed for them.

    Attributes
    ----------
    before, after : mapping of str to number, mapping or list
        Measures (names in `measures.MEASURES`) by the headers alone, and with the transform. Measures that need
        missing labels or landmarks are omitted; an undefined value is NaN.
    start : mapping or None
        The same at the start of the deformable part (after the linear alignment), when that is known.
    warped : Volume
        The moving volume on the fixed grid, interpolated linearly.
    warped_labels : LabelMap or None
        The moving segmentation on the fixed grid, nearest neighbor.
    jacobian : Volume
        Jacobian determinant of the fixed-to-moving transform on the fixed grid.
    labels : tuple of int
        The evaluated labels.
    region : str
        Description of the region in which intensities and the Jacobian are evaluated.
    notes : tuple of str
        Notes for the user, such as labels that are not evaluated.
    locations : Locations
        Locations to check: folds, bad matches, structures, and the most severe of all.
    seconds, cpu_seconds : float
        Time of the evaluation itself.
    error_map : ErrorMap or None
        Estimated error, when it was given.
    postponed : Postponed or None
        What `completed` needs; None when the evaluation is complete.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    start: Mapping[str, Any] | None
    warped: Volume
    warped_labels: LabelMap | None
    jacobian: Volume
    labels: tuple[int, ...] = ()
    region: str = ""
    notes: tuple[str, ...] = ()
    locations: Locations = field(default_factory=Locations)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error_map: ErrorMap | None = None
    postponed: Postponed | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The families of measures that `completed` adds."""
        return () if self.postponed is None else tuple(LATER)

    @property
    def look_at(self) -> tuple[Location, ...]:
        """Locations to check, the most severe first."""
        return self.locations.look_at


def evaluate(
    pair: Pair,
    result: Result | Transform,
    *,
    labels: Sequence[int] | None = None,
    measures: Iterable[str] | None = None,
    error_map: ErrorMap | None = None,
    in_steps: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure how well a transform aligns the moving volume of a pair with the fixed volume.

    Parameters
    ----------
    pair : Pair
        Volumes, and the segmentations and landmarks for the evaluation.
    result : Result or Transform
        The result of an engine, or any fixed-to-moving transform.
    labels : sequence of int, optional
        Labels to evaluate; default: all that exist in both segmentations.
    measures : iterable of str, optional
        Families to compute, of 'overlap', 'surface', 'landmarks', 'similarity', 'regularity', 'consistency' and
        'estimate'; default: all.
    error_map : ErrorMap, optional
        Estimated error (`estimate_error`), for its measures, locations and picture.
    in_steps : bool
        Whether measures that take long and have no part in the verdict (`measures.LATER`) are left to `completed`.
    threads : int
        Maximum number of CPU threads, 0 for all cores.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Returns
    -------
    Evaluation
        Measures before, at the start of the deformable part and after; warped volumes; Jacobian.

    Raises
    ------
    SettingsError
        When a family of measures does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from DeepVsClassicRegLib.core.images.grid import Grid
    >>> ramp = Volume(np.arange(1000.0).reshape(10, 10, 10), Grid((10, 10, 10)))
    >>> evaluate(Pair(ramp, ramp), Transform()).after["ncc"]
    1.0
    """
    wanted = _checked_families(measures)
    wall, cpu = time.perf_counter(), cpu_seconds()
    transform = result if isinstance(result, Transform) else result.transform
    start = None if isinstance(result, Transform) else result.start
    if start is not None and (not start.parts or start is transform):
        start = None
    listener = progress or Progress()
    count = threads or available_cores()
    with sitk_threads(count):
        evaluator = Evaluator(pair, labels, wanted, threads=count, in_steps=in_steps)
        listener.report(0.1, "Measuring")
        tasks = [partial(evaluator.column, transform, final=True), partial(evaluator.column, Transform())]
        tasks += [] if start is None else [partial(evaluator.column, start)]
        # Large volumes are measured one at a time, within the memory of one.
        at_once = min(count, 2) if pair.fixed.grid.voxel_count <= MOST_AT_ONCE else 1
        after, before, *first = _results(tasks, at_once, listener.part(0.1, 1.0))
    listener.report(1.0, "Measured")
    if after.jacobian is None or after.warped is None:
        raise TypeError("The final column has no volumes.")
    estimate = error_map if error_map is not None and "estimate" in wanted else None
    return Evaluation(
        before=before.values,
        after={**after.values, **(estimate.measures() if estimate else {})},
        start=first[0].values if first else None,
        warped=after.warped,
        warped_labels=after.labels,
        jacobian=after.jacobian,
        labels=evaluator.labels.scored.labels if evaluator.labels else (),
        region=evaluator.region_name,
        notes=(
            *evaluator.notes,
            *lost_label_note(before.values, "Before"),
            *lost_label_note(after.values, "After"),
            *(estimate.notes if estimate else ()),
        ),
        locations=_with_errors(after.locations, estimate, pair),
        seconds=time.perf_counter() - wall,
        cpu_seconds=cpu_seconds() - cpu,
        error_map=estimate,
        postponed=Postponed.of(evaluator, {"before": before, "start": first[0] if first else None, "after": after}),
    )


def completed(evaluation: Evaluation, *, threads: int = 0, progress: Progress | None = None) -> Evaluation:
    """Return an evaluation that was made `in_steps` with the measures that were left out.

    Parameters
    ----------
    evaluation : Evaluation
        A complete one is returned as it is.
    threads : int
        Maximum number of CPU threads, 0 for all cores.
    progress : Progress, optional
        Receives progress updates and can cancel.
    """
    postponed, listener = evaluation.postponed, progress or Progress()
    if postponed is None:
        return evaluation
    wall, cpu = time.perf_counter(), cpu_seconds()
    count = threads or available_cores()

    def whole(column: str, values: Mapping[str, Any]) -> dict[str, Any]:
        listener.check()
        return _with_later(values, postponed.measures(column, threads=count))

    listener.report(0.0, LATER_STAGE)
    return dataclasses.replace(
        evaluation,
        after=whole("after", evaluation.after),
        before=whole("before", evaluation.before),
        start=None if evaluation.start is None else whole("start", evaluation.start),
        seconds=evaluation.seconds + time.perf_counter() - wall,
        cpu_seconds=evaluation.cpu_seconds + cpu_seconds() - cpu,
        postponed=None,
    )


def _with_later(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measures of a column with those that came later, in the order of an evaluation in one step."""
    first = {name: value for name, value in values.items() if MEASURES[name].family == "overlap"}
    return {**first, **later, **values}


def _results(tasks: Sequence[Callable[[], Column]], at_once: int, progress: Progress) -> list[Column]:
    """Return the results of the tasks, of which some run at once."""
    pool = ThreadPoolExecutor(at_once)
    try:
        columns = []
        for number, future in enumerate([pool.submit(task) for task in tasks]):
            columns.append(future.result())
            progress.report((number + 1) / len(tasks), "Measuring")
        return columns
    finally:
        pool.shutdown(cancel_futures=True)


def _with_errors(locations: Locations, estimate: ErrorMap | None, pair: Pair) -> Locations:
    """Return the locations with those of the largest estimated errors, the worst of them among those to look at."""
    if estimate is None:
        return locations
    places = estimate.locations(pair.fixed.grid)
    return dataclasses.replace(locations, error=places, look_at=(*locations.look_at, *places[:1]))


def _checked_families(measures: Iterable[str] | None) -> frozenset[str]:
    wanted = frozenset(FAMILIES if measures is None else measures)
    for name in sorted(wanted - set(FAMILIES)):
        raise SettingsError(f"There is no family of measures '{name}'.", hint=did_you_mean(name, FAMILIES))
    return wanted
