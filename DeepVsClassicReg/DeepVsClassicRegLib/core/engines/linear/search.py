"""Searches the best pose from many starts, then refines it with more degrees of freedom, coarse to fine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.volume import LabelMap
from ...transforms.transform import Affine
from .levels import Coarse, LinearRun, inside_view, interpolate
from .optimize import Climb, climb, score
from .settings import KINDS

Array = npt.NDArray[np.floating]
SEARCH_CELLS = 22
SEARCH_BINS = 8
SEARCH_OVERLAP = 0.25
LEAST_PLAUSIBLE = 0.6


@dataclass(frozen=True, eq=False)
class CandidatePose:
    """A candidate pose.

    Attributes
    ----------
    name : str
        Description of its origin.
    transform : Affine
        Fixed-to-moving transform.
    anchor : bool
        Whether it keeps the orientation of the headers and determines the position.
    """

    name: str
    transform: Affine
    anchor: bool = False


def header_start() -> CandidatePose:
    """Return the pose of the headers."""
    return CandidatePose("headers as they are", Affine.identity(), anchor=True)


def center_starts(fixed: Coarse, moving: Coarse) -> Iterator[CandidatePose]:
    """Yield poses with aligned centers and unchanged orientation."""
    between = moving.grid.center_mm - fixed.grid.center_mm
    yield CandidatePose("centers of the fields of view", Affine.shift(between), anchor=True)
    for name, binary in (("centers of the objects", True), ("centers of the intensities", False)):
        from_fixed, from_moving = (_moments(c, binary=binary)[0] for c in (fixed, moving))
        yield CandidatePose(name, Affine.shift(from_moving - from_fixed), anchor=True)


def mask_starts(fixed: LabelMap | None, moving: LabelMap | None) -> Iterator[CandidatePose]:
    """Yield the pose with aligned centers of the masks, if there are two masks."""
    if fixed is None or moving is None:
        return
    centers = [mask.grid.index_to_point(np.argwhere(mask.mask())[:, ::-1].mean(axis=0)) for mask in (fixed, moving)]
    yield CandidatePose("centers of the masks", Affine.shift(centers[1] - centers[0]), anchor=True)


def moment_starts(fixed: Coarse, moving: Coarse) -> Iterator[CandidatePose]:
    """Yield the four proper rotations that align the principal axes of the objects."""
    (center_f, axes_f), (center_m, axes_m) = _moments(fixed, binary=True), _moments(moving, binary=True)
    for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        rotation = axes_m @ np.diag(signs) @ axes_f.T
        if np.linalg.det(rotation) < 0:
            rotation = axes_m @ np.diag([-s for s in signs]) @ axes_f.T
        yield CandidatePose("principal axes", Affine.about(rotation, center_f, center_m - center_f))


def turn_starts(center_fixed: Array, center_moving: Array, *, degrees: Iterable[float]) -> Iterator[CandidatePose]:
    """Yield rotations about each axis in both directions, for different patient positions."""
    for angle in degrees:
        for axis, sign in product(range(3), (-1, 1)):
            radians = sign * np.radians(angle)
            one, two = (axis + 1) % 3, (axis + 2) % 3
            rotation = np.eye(3)
            rotation[one, one] = rotation[two, two] = np.cos(radians)
            rotation[one, two], rotation[two, one] = -np.sin(radians), np.sin(radians)
            shift = center_moving - center_fixed
            yield CandidatePose(f"rotated by {angle:g} degrees", Affine.about(rotation, center_fixed, shift))


def axis_starts(center_fixed: Array, center_moving: Array) -> Iterator[CandidatePose]:
    """Yield the 23 proper rotations that swap or flip patient axes, for headers with wrong orientations."""
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        rotation = np.zeros((3, 3))
        rotation[order, range(3)] = signs
        if np.linalg.det(rotation) > 0 and not np.allclose(rotation, np.eye(3)):
            shift = center_moving - center_fixed
            yield CandidatePose("axes swapped or flipped", Affine.about(rotation, center_fixed, shift))


def wide_starts(center_fixed: Array, center_moving: Array, *, count: int, seed: int) -> Iterator[CandidatePose]:
    """Yield rotations distributed over all orientations, for volumes with unknown orientation.

    References
    ----------
    Shoemake, Uniform random rotations, Graphics Gems III, 1992.
    """
    random = np.random.default_rng(seed)
    for number in range(count):
        # Stratified sampling of the first coordinate distributes the rotations more evenly than random numbers.
        height = (number + random.random()) / count
        one, two = 2 * np.pi * random.random(2)
        low, high = np.sqrt(1 - height), np.sqrt(height)
        x, y, z, w = low * np.sin(one), low * np.cos(one), high * np.sin(two), high * np.cos(two)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        yield CandidatePose("any orientation", Affine.about(rotation, center_fixed, center_moving - center_fixed))


def translation_starts(fixed: Coarse, moving: Coarse, rotation: Array) -> list[CandidatePose]:
    """Return the three best translations, well separated, of an exhaustive search with mutual information.

    The joint histogram at every offset of a coarse grid is a sum of correlations of bin memberships, so a few Fourier
    transforms give the mutual information of all offsets.

    Parameters
    ----------
    fixed, moving : Coarse
        Coarse copies.
    rotation : (3, 3) array
        Rotation applied to fixed points before the translation.
    """
    cell = float(max(*fixed.grid.extent_mm, *moving.grid.extent_mm)) / SEARCH_CELLS
    first, mask_f, origin_f = _binned(fixed, cell, np.eye(3))
    second, mask_m, origin_m = _binned(moving, cell, rotation)
    shape = [_fast_length(int(a + b - 1)) for a, b in zip(mask_f.shape, mask_m.shape, strict=True)]
    information, overlap = _information_of_offsets(first, mask_f, second, mask_m, shape)
    enough = overlap >= SEARCH_OVERLAP * min(mask_f.sum(), mask_m.sum())
    part = np.minimum(overlap / min(mask_f.sum(), mask_m.sum()), 1)
    value = np.where(enough, information * part * (2 - part), -np.inf)
    found = []
    for place in _maxima(value, 3):
        # A circular correlation at offset d pairs fixed cell x with moving cell x + d.
        offset = np.array([p if p < m else p - s for p, m, s in zip(place, mask_m.shape, shape, strict=True)])
        shift = origin_m + offset[::-1] * cell - origin_f
        found.append(CandidatePose("translation search", Affine.about(rotation, np.zeros(3), rotation @ shift)))
    return found


def plausibility(
    transform: Affine, center_fixed: Array, anchors: Array, size_mm: float, *, least: float = LEAST_PLAUSIBLE
) -> float:
    """Return a factor for scores: 1 for likely poses, less for strongly rotated or shifted ones.

    The orientation in the headers is nearly always correct, and fields of view are usually centered on the structures
    of interest. In pairs with low contrast a flipped pose or a distant corner may score slightly higher than the true
    pose. When a header is wrong, the score of the wrong pose is lower by much more than this factor.

    Parameters
    ----------
    transform : Affine
        The pose.
    center_fixed : (3,) array
        Center of the fixed field of view, LPS mm.
    anchors : (K, 3) array
        Its positions in the moving volume by headers and by centers of fields of view and objects.
    size_mm : float
        Edge length of the smaller field of view.
    least : float
        Lowest factor of a rotation and of a translation.
    """
    u, _, vt = np.linalg.svd(transform.matrix)
    angle = np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
    turn = max(least, 1 / (1 + 0.4 * (angle / 60) ** 2))
    away = float(np.linalg.norm(anchors - transform.apply(center_fixed), axis=1).min()) / size_mm
    return float(turn * max(least, 1 / (1 + 0.8 * away**2)))


def distinct(ranked: Iterable[Affine], points: Array, least_mm: float) -> list[int]:
    """Return which transforms differ from all better ones by at least this root mean square distance."""
    kept: list[int] = []
    places: list[Array] = []
    for number, transform in enumerate(ranked):
        here = transform.apply(points)
        if all(float(np.sqrt(((here - there) ** 2).sum(axis=1).mean())) >= least_mm for there in places):
            kept.append(number)
            places.append(here)
    return kept


def _moments(coarse: Coarse, *, binary: bool) -> tuple[Array, Array]:
    """Return center and principal axes (columns, longest first) in LPS mm."""
    weights = coarse.foreground.astype(float) if binary else coarse.array.astype(float)
    total = weights.sum()
    if total <= 0:
        return coarse.grid.center_mm, np.eye(3)
    points = coarse.grid.points().reshape(-1, 3)
    share = weights.ravel() / total
    center = share @ points
    spread = (points - center) * np.sqrt(share)[:, None]
    _, vectors = np.linalg.eigh(spread.T @ spread)
    return center, vectors[:, ::-1]


def _binned(coarse: Coarse, cell_mm: float, rotation: Array) -> tuple[npt.NDArray[np.int32], Array, Array]:
    """Return bins and mask of the copy on an axis-aligned grid in the rotated frame, with the origin of that grid."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in coarse.grid.size))))
    turned = coarse.grid.index_to_point(corners) @ rotation
    low, high = turned.min(axis=0), turned.max(axis=0)
    size = np.maximum(1, np.round((high - low) / cell_mm)).astype(int)
    origin = (low + high) / 2 - (size - 1) / 2 * cell_mm
    grid = Grid(
        (int(size[0]), int(size[1]), int(size[2])),
        (cell_mm, cell_mm, cell_mm),
        (float(origin[0]), float(origin[1]), float(origin[2])),
    )
    points = grid.points().reshape(-1, 3) @ rotation.T
    index = coarse.grid.point_to_index(points).T.astype(np.float32)
    values, _ = interpolate(coarse, index)
    known = inside_view(coarse, index)
    mask = np.ones(grid.shape) if known is None else known.reshape(grid.shape).astype(float)
    top = max(float(coarse.array.max()), 1e-6)
    bins = np.minimum((values * (SEARCH_BINS / top)).astype(np.int32), SEARCH_BINS - 1)
    return bins.reshape(grid.shape), mask, origin


def _information_of_offsets(
    first: npt.NDArray[np.int32], mask_f: Array, second: npt.NDArray[np.int32], mask_m: Array, shape: list[int]
) -> tuple[Array, Array]:
    """Return mutual information (nats, bias removed) and overlap (cells) at every circular offset."""
    spectra_f = [
        np.fft.rfftn((mask_f * (first == b)).astype(np.float32), shape, axes=(0, 1, 2)) for b in range(SEARCH_BINS)
    ]
    spectra_m = [
        np.fft.rfftn((mask_m * (second == b)).astype(np.float32), shape, axes=(0, 1, 2)) for b in range(SEARCH_BINS)
    ]
    entropy, by_fixed, by_moving = np.zeros(shape), np.zeros((SEARCH_BINS, *shape)), np.zeros((SEARCH_BINS, *shape))
    for a, spectrum_f in enumerate(spectra_f):
        for b, spectrum_m in enumerate(spectra_m):
            together = np.fft.irfftn(np.conj(spectrum_f) * spectrum_m, shape, axes=(0, 1, 2))
            together = np.maximum(np.round(together), 0)
            entropy += _n_log_n(together)
            by_fixed[a] += together
            by_moving[b] += together
    overlap = by_fixed.sum(axis=0)
    safe = np.maximum(overlap, 1)
    sums = entropy - _n_log_n(by_fixed).sum(axis=0) - _n_log_n(by_moving).sum(axis=0) + _n_log_n(overlap)
    return sums / safe - (SEARCH_BINS - 1) ** 2 / (2 * safe), overlap


def _fast_length(least: int) -> int:
    """Return the next length without prime factors above 5, for fast Fourier transforms."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _n_log_n(counts: Array) -> Array:
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


def _maxima(value: Array, count: int) -> list[tuple[int, ...]]:
    """Return the indices of the highest values that are not adjacent to a higher one."""
    left = value.copy()
    found = []
    for _ in range(count):
        place = np.unravel_index(int(np.argmax(left)), left.shape)
        if not np.isfinite(left[place]):
            break
        found.append(tuple(int(p) for p in place))
        around = np.ix_(*[[(p + d) % s for d in (-2, -1, 0, 1, 2)] for p, s in zip(place, left.shape, strict=True)])
        left[around] = -np.inf
    return found


NEARLY_BEST = 0.8
FINALISTS = 3
WIDE_STARTS = 80
WIDE_REFINED = 16
# When the headers have not led to a reliable match, they get less weight.
WIDE_LEAST_PLAUSIBLE = 0.85
DISTINCT_STARTS = 0.06
DISTINCT_ENDS = 0.03


@dataclass(frozen=True, eq=False)
class PoseSearchResult:
    """The result of the search.

    Attributes
    ----------
    start : Affine
        The rigid pose to refine.
    ends : tuple of Affine
        End pose of every optimized start.
    anchor : CandidatePose or None
        The best of the simple starts (headers, centers), used when no other pose is reliable.
    """

    start: Affine
    ends: tuple[Affine, ...] = ()
    anchor: CandidatePose | None = None


def search(work: LinearRun) -> PoseSearchResult:
    """Return the best rigid pose over all starts selected by the settings."""
    return _best_of(work, _candidates(work), work.settings.refined_starts, LEAST_PLAUSIBLE)


def search_widely(work: LinearRun, seed: int) -> PoseSearchResult:
    """Return the best rigid pose over all orientations; several times slower than `search`."""
    starts = [header_start(), *center_starts(work.coarse_fixed, work.levels[0].moving)]
    middle = work.pair.fixed.grid.center_mm
    for number, start in enumerate(starts[1:3]):
        target = start.transform.apply(middle)
        starts.extend(wide_starts(middle, target, count=WIDE_STARTS, seed=seed + number))
    return _best_of(work, starts, WIDE_REFINED, WIDE_LEAST_PLAUSIBLE)


def _best_of(work: LinearRun, starts: list[CandidatePose], refined: int, least: float) -> PoseSearchResult:
    level = work.levels[0]
    judged = []
    for start in starts:
        work.progress.check()
        judged.append((_plausible(work, starts, start.transform, score(level, start.transform).value, least), start))
    chosen = _chosen(work, judged, refined)
    ends = []
    for number, start in enumerate(chosen):
        work.progress.report(0.1 + 0.25 * number / len(chosen), f"Linear alignment: start {number + 1}")
        end = climb(level, start.transform, kind="rigid", iterations=40, stiffness=0, watch=work.watch("Starts"))
        ends.append((_plausible(work, starts, end.pose.affine, end.score.value, least), end.pose.affine))
    ends.sort(key=lambda entry: -entry[0])
    anchors = [(score(work.finer[0], start.transform).value, start) for start in starts if start.anchor]
    anchor = max(anchors, key=lambda entry: entry[0])[1] if anchors else None
    return PoseSearchResult(_compared(work, starts, ends, least), tuple(transform for _, transform in ends), anchor)


def _candidates(work: LinearRun) -> list[CandidatePose]:
    settings, level = work.settings, work.levels[0]
    fixed, moving = work.coarse_fixed, level.moving
    starts: list[CandidatePose] = []
    if settings.header_start:
        starts.append(header_start())
    if settings.center_starts:
        starts.extend(center_starts(fixed, moving))
        starts.extend(mask_starts(work.pair.fixed_mask, work.pair.moving_mask))
    if settings.moment_starts:
        starts.extend(moment_starts(fixed, moving))
    if settings.translation_search:
        work.progress.report(0.08, "Linear alignment: searching translations")
        starts.extend(translation_starts(fixed, moving, np.eye(3)))
    starts = starts or [header_start()]
    best = max(starts, key=lambda start: score(level, start.transform).value)
    target = best.transform.apply(level.center)
    if settings.turn_starts:
        starts.extend(turn_starts(level.center, target, degrees=(20, 40)))
    if settings.axis_starts:
        starts.extend(axis_starts(level.center, target))
    return starts


def _plausible(work: LinearRun, starts: list[CandidatePose], transform: Affine, value: float, least: float) -> float:
    center = work.pair.fixed.grid.center_mm
    maps = [start.transform for start in starts if start.anchor] or [Affine.identity()]
    return value * plausibility(transform, center, np.array([a.apply(center) for a in maps]), work.size_mm, least=least)


def _chosen(work: LinearRun, judged: list[tuple[float, CandidatePose]], count: int) -> list[CandidatePose]:
    """Return the anchors and the best of the other starts, all different."""
    order = [start for _, start in sorted(judged, key=lambda entry: (not entry[1].anchor, -entry[0]))]
    kept = distinct((start.transform for start in order), work.probes, DISTINCT_STARTS * work.size_mm)
    anchors = [order[n] for n in kept if order[n].anchor]
    others = [order[n] for n in kept if not order[n].anchor]
    return anchors + others[:count]


def _compared(work: LinearRun, starts: list[CandidatePose], ends: list[tuple[float, Affine]], least: float) -> Affine:
    """Return the best of the few best poses after optimization on the next finer level."""
    kept = distinct((transform for _, transform in ends), work.probes, DISTINCT_ENDS * work.size_mm)
    few = [ends[n] for n in kept if ends[n][0] >= NEARLY_BEST * ends[0][0]][:FINALISTS] or ends[:1]
    if len(few) == 1:
        return few[0][1]
    outcome = []
    for number, (_, transform) in enumerate(few):
        work.progress.report(0.35 + 0.05 * number / len(few), "Linear alignment: comparing the best starts")
        end = climb(work.finer[0], transform, kind="rigid", iterations=20, stiffness=0, watch=work.watch("Starts"))
        outcome.append((_plausible(work, starts, end.pose.affine, end.score.value, least), end.pose.affine))
    return max(outcome, key=lambda entry: entry[0])[1]


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined transform and its kind ('rigid', 'similarity' or 'affine')."""

    transform: Affine
    kind: str


def refine(work: LinearRun, start: Affine) -> Refined:
    """Return the refined transform; a step without improvement or with too much stretch is undone and noted."""
    wanted = work.settings.kind
    steps = KINDS[: KINDS.index(wanted) + 1]
    here, kept = Refined(start, "rigid"), start
    for number, kind in enumerate(steps):
        part = work.progress.part(0.4 + 0.5 * number / len(steps), 0.4 + 0.5 * (number + 1) / len(steps))
        levels = work.finer if kind == wanted else work.finer[:1]
        end: Climb | None = None
        kept = here.transform
        for count, level in enumerate(levels):
            part.report(count / len(levels), f"{kind.capitalize()} alignment, resolution {count + 1} of {len(levels)}")
            end = climb(
                level,
                kept,
                kind=kind,
                iterations=work.settings.iterations,
                stiffness=0 if kind == "rigid" else work.settings.stiffness,
                watch=work.watch(kind.capitalize()),
            )
            kept = end.pose.affine
        if end is not None and _acceptable(work, kind, here, end):
            here = Refined(kept, kind)
    return here


def _acceptable(work: LinearRun, kind: str, before: Refined, end: Climb) -> bool:
    if kind == "rigid":
        return True
    last = kind == work.settings.kind
    stretch = float(np.exp(np.abs(np.linalg.eigvalsh(end.pose.log_stretch)).max()))
    if stretch > work.settings.largest_scale:
        reason = f"stretched by a factor of {stretch:.2f}, more than the {work.settings.largest_scale:g} allowed"
    elif end.score.value <= score(work.finer[-1 if last else 0], before.transform).value:
        reason = "did not improve the match"
    else:
        return True
    if last:
        work.recorder.notes.append(f"The {kind} step {reason}; the {before.kind} alignment was kept.")
    return False
