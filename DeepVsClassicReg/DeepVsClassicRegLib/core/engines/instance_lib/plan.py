"""From settings to a plan: which levels, which similarity, made by which back end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import RegistrationError
from ...pair import Pair
from .backend import NUMBA, Backend
from .labels import Segments, make_landmarks, make_segments
from .optimize import LevelImages, LevelMaker
from .problem import Problem, shrinks
from .schedule import Field, Level, nothing

if TYPE_CHECKING:
    from ..instance import InstanceSettings

Plan = Sequence[tuple[tuple[int, int, int], int]]


def make_plan(
    pair: Pair,
    problem: Problem,
    settings: InstanceSettings,
    backend: Backend,
    *,
    back: bool,
    pause: Callable[[], None] = nothing,
) -> tuple[Plan, LevelMaker]:
    """Return the levels with their iterations, and what makes a level.

    `back` says that the problem's roles are exchanged: its labels are, its landmarks stay out. `pause` is called
    between the parts of the work and raises when the user asked to stop.
    """
    levels = shrinks(problem.grid, len(settings.iterations))
    plan = list(zip(levels, settings.iterations[-len(levels) :], strict=True))
    similarity = settings.similarity
    segments = _segments(pair, problem, settings, back)
    landmarks = make_landmarks(pair, problem) if settings.landmark_weight > 0 and not back else None
    if settings.landmark_weight > 0 and landmarks is None and not back:
        raise RegistrationError(
            "The landmark weight is set, but the pair has no landmarks.", hint="Give both lists, or set it to 0."
        )

    def make(images: LevelImages, start: Field | None, finest: bool) -> Level:
        terms = [(_term(similarity, images, settings.radius_vox, backend), 1.0)]
        if settings.second_radius_vox and similarity == "lncc" and images.shrink == levels[-1]:
            terms.append((_term(similarity, images, settings.second_radius_vox, backend), 1.0))
        pause()
        if segments is not None:
            terms.append((_overlap(segments, images, backend), settings.label_weight))
        pull = None
        if landmarks is not None:

            def pull(u: Field, longest: float) -> Field:
                most = longest * settings.landmark_weight
                return landmarks.pull(u, images.shrink, reach=settings.landmark_reach, longest=most)

        place = (terms, images.region, start, images.fixed.shape, images.spacing)
        if backend.kind == NUMBA:
            from .numba_level import NumbaLevel

            return NumbaLevel(*place, backend.threads, pull=pull, pause=pause)
        from .torch_level import TorchLevel

        return TorchLevel(*place, backend.device, pull=pull, pause=pause)

    return plan, make


def _segments(pair: Pair, problem: Problem, settings: InstanceSettings, back: bool) -> Segments | None:
    if settings.label_weight == 0:
        return None
    segments = make_segments(pair, problem, back=back)
    if segments is None:
        raise RegistrationError(
            "The label weight is set, but the pair has no label that both segmentations share.",
            hint="Give two segmentations with the same label numbers, or set the label weight to 0.",
        )
    return segments


def _term(similarity: str, images: LevelImages, radius: int, backend: Backend) -> Any:
    """Return the similarity term of a level."""
    masks: dict[str, Any] = {"weight": images.fixed_mask, "moving_weight": images.moving_mask}
    if backend.kind != NUMBA:
        from . import torch_terms

        return torch_terms.make_term(similarity, images, radius, backend.device)
    from . import numba_terms
    from .descriptors import mind_ssc

    if similarity == "lncc":
        return numba_terms.Lncc(
            images.fixed, images.moving, images.region, radius=radius, threads=backend.threads, **masks
        )
    if similarity == "mi":
        return numba_terms.Information(images.fixed, images.moving, images.region, **masks)
    if similarity == "mse":
        return numba_terms.Residual(images.fixed[None], images.moving[None], images.region, **masks)
    return numba_terms.Residual(mind_ssc(images.fixed), mind_ssc(images.moving), images.region, **masks)


def _overlap(segments: Segments, images: LevelImages, backend: Backend) -> Any:
    fixed, moving = segments.members(images.shrink)
    if backend.kind == NUMBA:
        from .numba_terms import Overlap

        return Overlap(fixed, moving, images.region)
    from .torch_terms import make_overlap

    return make_overlap(fixed, moving, backend.device)
