"""Partial views: what lies beyond a volume does not enter the comparison, and a slab is never worse than its start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.engines.engine_input import native_start, same_grid_start
from DeepVsClassicRegLib.core.engines.instance.problem import make_problem
from DeepVsClassicRegLib.core.engines.instance.similarity_selection import select_similarity
from DeepVsClassicRegLib.core.engines.partial_views import (
    Gain,
    gain_of,
    is_partial,
    known,
    never_worse,
    objection,
    open_faces,
)
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import continued, sampled_on, warp_labels
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.result import Result
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform

from . import Case, Gives, NotInstalled

SIZE = 48
LOW, HIGH = 18, 32


def plain(name: str, call: Callable[[], Any], truth: Any, tolerance: float = 0.0, *, slow: bool = False) -> Case:
    return Case("I", name, lambda folder: call, Gives(truth, tolerance), slow=slow)


@cache
def phantom() -> Pair:
    return make_phantom("head", size=SIZE).pair


def cut(item: Any, axis: int = 2, low: int = LOW, high: int = HIGH) -> Any:
    """A slab across an index axis (0 is i)."""
    start, size = [0, 0, 0], list(item.grid.size)
    start[axis], size[axis] = low, high - low
    part = tuple(slice(s, s + n) for s, n in zip(start[::-1], size[::-1], strict=True))
    return dataclasses.replace(item, array=item.array[part], grid=item.grid.cropped(start, size))


def slab_pair(side: str = "moving", axis: int = 2, low: int = LOW, high: int = HIGH) -> Pair:
    names = (side, f"{side}_labels")
    return phantom().replace(**{name: cut(getattr(phantom(), name), axis, low, high) for name in names})


@cache
def start_of(side: str, axis: int) -> Transform:
    return register(slab_pair(side, axis), "linear", threads=1).transform


def error(pair: Pair, transform: Transform, side: str) -> float:
    """Mean error of the landmarks inside the slab, mm."""
    points = {"fixed": pair.fixed_points, "moving": pair.moving_points}[side]
    inside = getattr(pair, side).grid.contains(points)
    return float(np.linalg.norm(transform.apply(pair.fixed_points) - pair.moving_points, axis=1)[inside].mean())


def registered(pair: Pair, engine: str) -> Result:
    if missing := get_engine(engine).info.missing():
        raise NotInstalled(f"engine '{engine}' needs {', '.join(need.name for need in missing)}")
    return register(pair, engine, threads=1)


def worse_than_linear(engine: str, side: str = "moving", axis: int = 2) -> Callable[[], float]:
    """How much worse than its linear start the landmarks inside the slab are, mm."""

    def call() -> float:
        pair, start = slab_pair(side, axis), start_of(side, axis)
        result = registered(pair.replace(initial=start), engine)
        return max(0.0, error(pair, result.transform, side) - error(pair, start, side))

    return call


def gained(engine: str, side: str) -> Callable[[], bool]:
    """Whether the deformation removes a third of the error of its linear start."""

    def call() -> bool:
        pair, start = slab_pair(side), start_of(side, 2)
        result = register(pair.replace(initial=start), engine, threads=1)
        return error(pair, result.transform, side) < 0.67 * error(pair, start, side)

    return call


def faces(volume: Volume) -> list[bool]:
    low, high = open_faces(volume)
    return [*low.tolist(), *high.tolist()]


def known_share(pair: Pair) -> float:
    within = known(pair.moving, pair.fixed.grid, Transform())
    return 1.0 if within is None else float(within.mean())


def problem_of(pair: Pair) -> Any:
    return make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0)[0]


def compared_beyond(side: str) -> Callable[[], int]:
    """How many nodes outside of the slab are compared."""

    def call() -> int:
        problem = problem_of(slab_pair(side))
        outside = ~getattr(slab_pair(side), side).grid.contains(problem.grid.points())
        return int(outside.sum()) if problem.compared is None else int((problem.compared & outside).sum())

    return call


def beyond_is_continued() -> float:
    """Largest difference of what stands beyond the slab from its last slice."""
    volume = slab_pair().moving
    wide = continued(volume, volume.grid.padded([0, 0, 3]))
    return float(max(np.abs(wide.array[:3] - volume.array[0]).max(), np.abs(wide.array[-3:] - volume.array[-1]).max()))


def filled() -> Volume:
    """The moving slab of a pair that needs no deformation, with what engines on their own grids find beyond it."""
    return native_start(same_pair()).moving


def beyond_filled() -> float:
    """Largest difference between what stands beyond the slab and the whole head, as a fraction of its range."""
    volume, whole = filled(), phantom().fixed
    there = sampled_on(whole, volume.grid).array
    return float(np.abs(volume.array - there).max() / np.ptp(whole.array))


def slices_of_mask(mask: LabelMap | None) -> list[int]:
    used = np.flatnonzero(mask.mask().any(axis=(1, 2))) if mask is not None else np.array([])
    return [int(used[0]), int(used[-1])] if used.size else []


def corner_pair() -> Pair:
    """A moving volume that shows one corner of the head: every axis is cut."""
    pair = phantom()
    for axis in range(3):
        pair = pair.replace(**{name: cut(getattr(pair, name), axis, 0, 32) for name in ("moving", "moving_labels")})
    return pair


def oblique_slab(low: float = -26.0, high: float = 26.0) -> Pair:
    """A moving slab on a grid of its own that is tilted by 20 degrees about x."""
    whole = phantom().moving
    tilt = np.radians(20)
    axes = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    center = whole.grid.points().reshape(-1, 3).mean(axis=0)
    spacing = np.array(whole.grid.spacing_mm)
    size = np.array([SIZE, SIZE, round((high - low) / spacing[2])])
    origin = center - axes @ (spacing * (size - 1) / 2)
    direction = tuple(axes.ravel().tolist())
    grid = Grid(tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), direction)
    return phantom().replace(moving=sampled_on(whole, grid), moving_labels=warp_labels(phantom().moving_labels, grid))


def not_worse(make: Callable[[], Pair], engine: str) -> Callable[[], float]:
    """How much worse than the linear start the landmarks inside the moving view of a pair are, mm."""

    def call() -> float:
        pair = make()
        start = register(pair, "linear", threads=1).transform
        result = registered(pair.replace(initial=start), engine)
        return max(0.0, error(pair, result.transform, "moving") - error(pair, start, "moving"))

    return call


def start_off() -> Transform:
    """A start so far off that the compressing map agrees better."""
    return Transform((Affine.shift([20.0, 20.0, 0.0]),))


def compressing() -> Transform:
    """A map that takes a whole head into the slab of the same head, without a fold."""
    grid = phantom().fixed.grid
    points = grid.points()
    k = np.arange(SIZE)
    target = (LOW + HIGH - 1) / 2 + (HIGH - LOW) / 2 * 0.95 * np.tanh((k - (LOW + HIGH - 1) / 2) / 7.0)
    shift = np.zeros_like(points)
    normal = np.asarray(grid.direction).reshape(3, 3)[:, 2] * grid.spacing_mm[2]
    shift += (target - k)[:, None, None, None] * normal
    return Transform((DisplacementField(shift.astype(np.float32), grid),))


def guard_keeps(pair: Pair, found: Transform) -> Callable[[], bool]:
    return lambda: never_worse(pair, Transform(), found)[0] is not found


def same_pair(side: str = "moving") -> Pair:
    """A slab against the very volume it was cut from: nothing is to be moved."""
    whole = phantom().fixed
    return Pair(whole, cut(whole)) if side == "moving" else Pair(cut(whole), whole)


def rough(off_mm: float) -> bool:
    """Whether the start of a T2 slab against a T1 head is rough when it is so far off along x and y."""
    made = make_phantom("head", size=SIZE, contrasts=("t1", "t2"))
    start = Transform.of([Affine.shift([off_mm, off_mm, 0.0]), Transform((made.warp.affine,))])
    return select_similarity(problem_of(made.pair.replace(moving=cut(made.pair.moving), initial=start))).rough_start


def beyond_the_border(continues: bool) -> bool:
    """Whether tissue goes on in the moving volume of the working problem, where the slab ends."""
    pair = slab_pair()
    problem, _ = make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0, continues=continues)
    return float(problem.moving[~problem.moving_mask].max()) > 0.3


AWAY = Transform((Affine.shift([9.0, 9.0, 0.0]),))

CASES = [
    plain("a head shows all of itself", lambda: faces(phantom().fixed), [False] * 6),
    plain(
        "a slab is open above and below", lambda: faces(cut(phantom().fixed)), [False, False, True, False, False, True]
    ),
    plain(
        "a sagittal slab is open on both sides",
        lambda: faces(cut(phantom().fixed, 0)),
        [True, False, False, True, False, False],
    ),
    plain(
        "a coronal slab is open in front and behind",
        lambda: faces(cut(phantom().fixed, 1)),
        [False, True, False, False, True, False],
    ),
    plain(
        "the lower half is open above",
        lambda: faces(cut(phantom().fixed, 2, 0, 24)),
        [False, False, False, False, False, True],
    ),
    plain(
        "the upper half is open below",
        lambda: faces(cut(phantom().fixed, 2, 24, SIZE)),
        [False, False, True, False, False, False],
    ),
    plain(
        "a head against a head is no partial view", lambda: is_partial(Pair(phantom().fixed, phantom().fixed)), False
    ),
    plain("a slab against a head is a partial view", lambda: is_partial(slab_pair()), True),
    plain("a head against a slab is a partial view", lambda: is_partial(slab_pair("fixed")), True),
    plain(
        "beyond a head there is known to be nothing", lambda: known_share(Pair(phantom().fixed, phantom().fixed)), 1.0
    ),
    plain("beyond a slab nothing is known", lambda: known_share(same_pair()), (HIGH - LOW) / SIZE, 1e-9),
    plain(
        "beyond the lower half nothing is known above",
        lambda: known_share(Pair(phantom().fixed, cut(phantom().fixed, 2, 0, 24))),
        0.5,
        1e-9,
    ),
    plain("a head against a slab: the moving head is known", lambda: known_share(same_pair("fixed")), 1.0),
    plain(
        "a head is compared everywhere",
        lambda: problem_of(Pair(phantom().fixed, phantom().fixed)).compared is None,
        True,
    ),
    plain("instance compares nothing beyond a moving slab", compared_beyond("moving"), 0),
    plain("instance compares nothing beyond a fixed slab", compared_beyond("fixed"), 0),
    plain("beyond a slab its border is continued", lambda: beyond_the_border(True), True),
    plain("beyond a slab of a rough start there is background", lambda: beyond_the_border(False), False),
    plain("a good start of another contrast", lambda: rough(0.0), False),
    plain("a start of another contrast 11 mm off is rough", lambda: rough(8.0), True),
    plain("the last slice goes on beyond a slab", beyond_is_continued, 0.0, 1e-4),
    plain("beyond a slab engines on their own grids find the head as it was", beyond_filled, 0.0, 0.05),
    plain("how many slices engines on their own grids find beyond a slab", lambda: filled().grid.size[2], 14 + 2 * 10),
    plain("the slices of a slab stay", lambda: bool((filled().array[10:24] == same_pair().moving.array).all()), True),
    plain(
        "masked start of engines on their own grids",
        lambda: slices_of_mask(native_start(same_pair()).fixed_mask),
        [LOW, HIGH - 1],
    ),
    plain("masked start of demons", lambda: slices_of_mask(same_grid_start(same_pair()).moving_mask), [LOW, HIGH - 1]),
    plain(
        "a head against a head gets no mask",
        lambda: native_start(Pair(phantom().fixed, phantom().fixed)).fixed_mask is None,
        True,
    ),
    plain("agreement of a slab with itself", lambda: gain_of(same_pair(), Transform(), Transform()).before, 1.0, 1e-3),
    plain("agreement falls when a slab is shifted", lambda: gain_of(same_pair(), Transform(), AWAY).after < 0.6, True),
    plain("a worse deformation of a slab is not kept", guard_keeps(same_pair(), AWAY), True),
    plain("a worse deformation of a fixed slab is not kept", guard_keeps(same_pair("fixed"), AWAY), True),
    plain(
        "a head squeezed into a slab is not kept",
        lambda: "high strain" in never_worse(same_pair(), start_off(), compressing())[1],
        True,
    ),
    plain("strain of whole lungs is no objection", lambda: objection(Gain(0.62, 0.96, 0.007, 0.54, 0.95)), ""),
    plain("strain of two slabs that come to agree is none", lambda: objection(Gain(0.17, 0.22, 0.0, 0.42, 0.64)), ""),
    plain("strain of crops of two persons is none", lambda: objection(Gain(0.62, 0.96, 0.007, 0.54, 0.7)), ""),
    plain("strain of a slab is one", lambda: "high strain" in objection(Gain(0.62, 0.96, 0.007, 0.79, 0.3)), True),
    plain(
        "strain of two hippocampi that come to agree is none", lambda: objection(Gain(0.25, 0.63, 0.2, 0.73, 0.33)), ""
    ),
    plain("demons, moving slab across i", worse_than_linear("sitk-demons", "moving", 0), 0.0),
    plain("demons, moving slab across j", worse_than_linear("sitk-demons", "moving", 1), 0.0),
    plain("demons, fixed slab across i", worse_than_linear("sitk-demons", "fixed", 0), 0.0),
    plain("demons, moving corner", not_worse(corner_pair, "sitk-demons"), 0.0),
    plain("demons, oblique moving slab", not_worse(oblique_slab, "sitk-demons"), 0.0),
    plain("the guard says why", lambda: "linear start is kept" in never_worse(same_pair(), Transform(), AWAY)[1], True),
    plain(
        "the guard leaves whole heads alone",
        lambda: never_worse(Pair(phantom().fixed, phantom().fixed), Transform(), AWAY)[1],
        "",
    ),
    plain("instance, moving slab", gained("instance", "moving"), True),
    plain("instance, fixed slab", gained("instance", "fixed"), True),
    plain("demons, moving slab", worse_than_linear("sitk-demons"), 0.0),
    *[
        plain(
            f"{engine}, {side} slab across {'ijk'[axis]}", worse_than_linear(engine, side, axis), 0.0, 0.05, slow=True
        )
        for engine, side, axis in (
            ("sitk-demons", "fixed", 2),
            ("greedy", "moving", 2),
            ("greedy", "moving", 0),
            ("greedy", "moving", 1),
            ("greedy", "fixed", 2),
            ("greedy", "fixed", 0),
            ("greedy", "fixed", 1),
            ("elastix", "moving", 2),
            ("elastix", "moving", 0),
            ("elastix", "fixed", 2),
            ("elastix", "fixed", 0),
            ("sitk-bspline", "moving", 2),
            ("sitk-bspline", "moving", 0),
            ("sitk-bspline", "moving", 1),
            ("sitk-bspline", "fixed", 2),
            ("sitk-bspline", "fixed", 0),
            ("sitk-bspline", "fixed", 1),
            ("convexadam", "moving", 2),
            ("convexadam", "moving", 0),
            ("convexadam", "moving", 1),
            ("convexadam", "fixed", 2),
            ("convexadam", "fixed", 0),
            ("convexadam", "fixed", 1),
            ("ants", "moving", 2),
            ("ants", "fixed", 2),
            ("instance", "moving", 0),
            ("instance", "fixed", 0),
            ("instance", "moving", 1),
            ("network", "moving", 2),
            ("network", "fixed", 2),
            ("network+refine", "moving", 2),
            ("network+refine", "fixed", 2),
            ("fireants", "moving", 2),
            ("fireants", "fixed", 2),
            ("niftyreg", "moving", 2),
            ("niftyreg", "fixed", 2),
        )
    ],
]
