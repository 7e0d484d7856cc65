"""Evaluates a registration: all measures before and after, computed by the same code for every engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..device import available_cores, cpu_seconds, sitk_threads
from ..errors import SettingsError, did_you_mean
from ..images.intensity import background_value
from ..images.resample import warp_labels, warp_volume
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
from .measures import FAMILIES
from .region import Ready, Sampled, fixed_region, is_seen, moving_indices, slab_of, slabs
from .segmentations import Codes, Scored, SoftOverlap, hard_overlap, scored_labels, surface_measures
from .similarity import Agreement, SimilarityRegion, local_agreement

MOST_CHANGE = 10.0


@dataclass(frozen=True, eq=False)
class Column:
    """The measures of one transform and the volumes computed for them."""

    values: dict[str, Any]
    warped: Volume
    labels: LabelMap | None
    jacobian: Volume | None
    locations: Locations = field(default_factory=Locations)


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
    """

    def __init__(self, pair: Pair, labels: Sequence[int] | None, families: frozenset[str]) -> None:
        self.pair = pair = marked_pair(pair)
        self.families = families
        self.region, self.region_name = fixed_region(pair)
        self.fill = background_value(pair.moving)
        self.similarity = (
            SimilarityRegion.of(pair.fixed, pair.moving, self.region) if "similarity" in families else None
        )
        self.labels, self.notes = _prepared_labels(pair, labels)

    def column(self, transform: Transform, *, final: bool = False) -> Column:
        """Return all measures of a transform; regularity and round-trip error only for the final one."""
        if transform.affine is not None:
            sampling = self._linear(transform, with_jacobian=final)
        else:
            sampling = self._nonlinear(transform, with_jacobian=final)
        agreement = self._agreement(sampling)
        values = {
            **self._label_measures(sampling),
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
        if final and "consistency" in self.families:
            values |= round_trip_measures(transform, self.pair.fixed.grid, self.region)
        locations = Locations()
        if final:
            evaluated = sampling.jacobian if "regularity" in self.families else None
            found_at = self._mismatches(sampling)
            locations = locations_of(self.pair, values, jacobian=evaluated, inside=self.region, mismatches=found_at)
        return Column(values, sampling.warped, sampling.labels, sampling.jacobian, locations)

    def _linear(self, transform: Transform, *, with_jacobian: bool) -> _Sampling:
        pair, grid, mapping = self.pair, self.pair.fixed.grid, transform.affine
        if mapping is None:
            raise TypeError("The transform is not linear.")
        sampling = _Sampling(self)
        sampling.warped = warp_volume(pair.moving, grid, mapping, fill=self.fill)
        if pair.moving_labels is not None:
            sampling.labels = warp_labels(pair.moving_labels, grid, mapping)
        sampling.count(slice(0, grid.size[2]), mapping)
        if with_jacobian:
            determinant = np.float32(np.linalg.det(mapping.matrix))
            sampling.jacobian = Volume(np.full(grid.shape, determinant), grid, "Jacobian")
        return sampling

    def _nonlinear(self, transform: Transform, *, with_jacobian: bool) -> _Sampling:
        """Sample the transform once per slab of the fixed grid and use the samples for all measures."""
        pair, grid, ready = self.pair, self.pair.fixed.grid, Ready(transform)
        warped = np.empty(grid.shape, dtype=np.float32)
        labels = np.empty(grid.shape, dtype=np.int32) if pair.moving_labels is not None else None
        jacobian = np.empty(grid.shape, dtype=np.float32) if with_jacobian else None
        sampling = _Sampling(self)
        for part in slabs(grid):
            wide = ready.displacement_on(slab_of(grid, part, margin=1))
            first = part.start - max(part.start - 1, 0)
            inner = slice(first, first + part.stop - part.start)
            if jacobian is not None:
                jacobian[part] = field_jacobian(wide).array[inner]
            mapping = DisplacementField(wide.array_mm[inner], slab_of(grid, part))
            warped[part] = warp_volume(pair.moving, mapping.grid, mapping, fill=self.fill).array
            if labels is not None and pair.moving_labels is not None:
                labels[part] = warp_labels(pair.moving_labels, mapping.grid, mapping).array
            sampling.count(part, mapping)
        sampling.warped = Volume(warped, grid, f"{pair.moving.name} warped")
        if labels is not None and pair.moving_labels is not None:
            sampling.labels = dataclasses.replace(
                pair.moving_labels, array=labels, grid=grid, name=f"{pair.moving_labels.name} warped"
            )
        sampling.jacobian = Volume(jacobian, grid, "Jacobian") if jacobian is not None else None
        return sampling

    def _label_measures(self, sampling: _Sampling) -> dict[str, Any]:
        if self.labels is None or sampling.labels is None:
            return {}
        values: dict[str, Any] = {}
        warped = self.labels.scored.codes(sampling.labels.array)
        if "overlap" in self.families:
            values |= hard_overlap(self.labels.fixed, warped, self.labels.scored)
        if sampling.soft is not None:
            values |= sampling.soft.measures()
        if "surface" in self.families:
            spacing = self.pair.fixed.grid.spacing_mm
            values |= surface_measures(self.labels.fixed, warped, self.labels.scored, spacing)
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
    """Data accumulated while a transform is sampled in slabs."""

    warped: Volume
    labels: LabelMap | None = None
    jacobian: Volume | None = None

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.seen = np.ones(evaluator.pair.fixed.grid.shape, dtype=bool)
        self.soft: SoftOverlap | None = None
        if evaluator.labels is not None and "overlap" in evaluator.families:
            self.soft = SoftOverlap(evaluator.labels.moving, evaluator.labels.scored)

    def count(self, part: slice, mapping: Sampled) -> None:
        """Add the slices of a range of z."""
        pair, grid = self._evaluator.pair, slab_of(self._evaluator.pair.fixed.grid, part)
        fixed = None if self._evaluator.labels is None else self._evaluator.labels.fixed[part]
        soft = self.soft if fixed is not None else None
        together = soft is not None and soft.grid == pair.moving.grid  # the same indices serve both
        if self._evaluator.similarity is not None or together:
            for rows, index in moving_indices(grid, pair.moving.grid, mapping):
                inside = is_seen(pair.moving, index)
                self.seen[part][rows] = inside.reshape(-1, *grid.shape[1:])
                if soft is not None and fixed is not None and together:
                    soft.add_points(fixed[rows], index)
        if soft is not None and fixed is not None and not together:
            soft.add(fixed, grid, mapping)


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
    with sitk_threads(threads or available_cores()):
        evaluator = Evaluator(pair, labels, wanted)
        listener.report(0.1, "Measuring before")
        before = evaluator.column(Transform())
        listener.report(0.4, "Measuring the linear alignment")
        first = evaluator.column(start) if start is not None else None
        listener.report(0.6, "Measuring after")
        after = evaluator.column(transform, final=True)
    listener.report(1.0, "Measured")
    if after.jacobian is None:
        raise TypeError("The final column has no Jacobian.")
    estimate = error_map if error_map is not None and "estimate" in wanted else None
    return Evaluation(
        before=before.values,
        after={**after.values, **(estimate.measures() if estimate else {})},
        start=first.values if first else None,
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
    )


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
