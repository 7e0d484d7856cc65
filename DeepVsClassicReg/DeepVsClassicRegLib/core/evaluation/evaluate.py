"""Evaluates a registration: all measures before and after, computed by the same code for every engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..device import available_cores, cpu_seconds, sitk_threads
from ..errors import SettingsError, did_you_mean
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..progress import Progress
from ..result import Result
from ..transforms.transform import Transform
from .error_map import ErrorMap
from .evaluator import Evaluator, lost_label_note
from .locations import Location, Locations
from .measures import FAMILIES


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
