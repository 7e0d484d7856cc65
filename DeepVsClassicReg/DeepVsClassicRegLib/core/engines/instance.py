"""The instance engine: this project's own dense diffeomorphic optimization for one pair at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..device import Compute
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.field import DisplacementField
from ..transforms.transform import Transform
from .base import EngineInfo, Recorder, Result

if TYPE_CHECKING:
    from .instance_lib.fallback import Attempt
    from .instance_lib.problem import Problem
    from .instance_lib.schedule import Field

SIMILARITIES = ("auto", "lncc", "mi", "mind", "mse")


@dataclass(frozen=True)
class InstanceSettings:
    """What drives the optimization; lengths in units of the finest spacing of a level unless said otherwise."""

    similarity: str = option(
        "auto",
        "Similarity",
        choices=SIMILARITIES,
        tooltip="auto looks at the pair: lncc for one contrast, mind for different ones; the reason is reported.",
    )
    iterations: tuple[int, ...] = option(
        (40, 40, 40, 30, 15),
        "Iterations",
        minimum=0,
        maximum=5000,
        tooltip="At most, per level, coarsest first; every level halves the spacing, up to 16 times the finest. "
        "Small volumes leave out the first ones.",
    )
    coarsen: float = option(
        1.0, "Working spacing", unit="x fixed", minimum=1, maximum=8, tooltip="1: full resolution, 2: half."
    )
    resolution_mm: float = option(
        0.0,
        "Finest spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="0: as the fixed volume.",
        special="automatic",
        advanced=True,
    )
    radius_vox: int = option(
        2, "Window radius", unit="voxels", minimum=1, maximum=8, tooltip="Of the local correlation.", advanced=True
    )
    second_radius_vox: int = option(
        0,
        "Second window radius",
        unit="voxels",
        minimum=0,
        maximum=8,
        tooltip="Windows of this size count as much as the others on the finest level (local correlation); 0: none.",
        special="none",
        advanced=True,
    )
    step: float = option(
        0.5, "Longest step", unit="voxels", minimum=0.05, maximum=2, tooltip="Of one iteration.", advanced=True
    )
    momentum: float = option(
        0.5, "Momentum", minimum=0, maximum=0.95, tooltip="How much of the last steps goes on.", advanced=True
    )
    softness: float = option(
        1.0,
        "Equalization of forces",
        minimum=0.1,
        maximum=100,
        tooltip="Small: weak edges move as fast as strong ones; large: steps are proportional to the force.",
        advanced=True,
    )
    sigma_update: float = option(
        1.5, "Update smoothing", unit="voxels", minimum=0, maximum=6, tooltip="Fluid regularization."
    )
    sigma_field: float = option(
        0.5, "Field smoothing", unit="voxels", minimum=0, maximum=6, tooltip="Elastic regularization."
    )
    label_weight: float = option(
        0.0,
        "Weight of segmentations",
        minimum=0,
        maximum=100,
        tooltip="0: not used; 1: as strong as the images. Segmentations used here cannot judge the result.",
        special="not used",
    )
    landmark_weight: float = option(
        0.0,
        "Weight of landmarks",
        minimum=0,
        maximum=1,
        tooltip="0: not used; 1: landmarks are pulled onto each other in every step.",
        special="not used",
    )
    landmark_reach: float = option(
        4.0, "Reach of landmarks", unit="voxels", minimum=1, maximum=30, tooltip="Sigma around each.", advanced=True
    )
    search_vox: float = option(
        0.0,
        "Search of large motion",
        unit="voxels",
        minimum=0,
        maximum=500,
        tooltip="0: none. Tries all displacements up to here (in finest fixed voxel edges) on a coarse lattice first: "
        "lung, abdomen.",
        special="none",
    )
    symmetric: bool = option(
        False,
        "Both directions",
        tooltip="Registers both ways and returns their consistent mean: several times the time, less detail.",
    )
    consensus: bool = option(
        True,
        "Consensus of coarse levels",
        tooltip="Registers all but the finest level both ways and goes on from the mean: steadier, a quarter slower. "
        "Not with mind, nor with landmarks.",
        advanced=True,
    )
    adapt: bool = option(
        True,
        "Adapt to the pair",
        tooltip="Raises the field smoothing to 1.2 unless both volumes show clean, cut-out organs (skull-stripped).",
        advanced=True,
    )
    tolerance: float = option(
        2e-4,
        "Settled at",
        minimum=0,
        maximum=0.1,
        tooltip="A level ends when its objective falls by less than this share per iteration; 0: never.",
        advanced=True,
    )
    min_determinant: float = option(
        0.02,
        "Least Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="The field is relaxed where a cell shrinks further; 0 allows folds (reported).",
        advanced=True,
    )
    memory_gib: float = option(
        3.0, "Memory", unit="GiB", minimum=0.25, maximum=1024, tooltip="The working spacing grows until it fits."
    )


class InstanceEngine:
    """Coarse-to-fine compositive registration with local correlation and other similarities."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="instance",
        title="Instance optimization",
        summary="Our own dense diffeomorphic registration: accurate, fold-free, seconds on a laptop.",
        family="classical",
        settings=InstanceSettings,
        citation="Avants et al., Med. Image Anal. 12:26-41, 2008, doi 10.1016/j.media.2007.06.004 (local correlation); "
        "Vercauteren et al., NeuroImage 45:S61-S72, 2009, doi 10.1016/j.neuroimage.2008.10.040 (compositive steps)",
        uses_labels=True,
        uses_masks=True,
        multimodal=True,
        interruptible=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: InstanceSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        return self.refine(pair, None, settings, progress, compute)

    def refine(
        self,
        pair: Pair,
        field: DisplacementField | None,
        settings: InstanceSettings,
        progress: Progress,
        compute: Compute,
    ) -> Result:
        """Register the pair, going on from a field that another engine found after the same start.

        Unlike a start that is a field, it is regularized and freed of folds together with what is added to it.

        Parameters
        ----------
        field : DisplacementField or None
            Applied before `pair.initial`; its coarse part is trusted, so the search of large motion is left out.
        """
        from .instance_lib.backend import choose_backend
        from .instance_lib.fallback import Attempt, with_fallback
        from .instance_lib.output import to_transform_field, to_working_field
        from .instance_lib.solve import solve

        progress.report(0.0, "Preparing the volumes")
        backend = choose_backend(compute, progress)
        recorder = Recorder(compute, device=backend.device, packages=backend.packages)
        recorder.notes.extend(backend.notes)

        def attempted(attempt: Attempt) -> tuple[Problem, Field, list[str]]:
            limited = dataclasses.replace(settings, memory_gib=attempt.memory_gib)
            with recorder.stage("Preparation"):
                problem, chosen, notes = _prepared(pair, limited, progress.check)
            recorder.notes.extend(notes)
            begun = None if field is None else to_working_field(field, problem.grid)
            u, endings = solve(pair, problem, chosen, attempt.backend, progress.part(0.05, 0.95), recorder, begun)
            return problem, u, endings

        first = Attempt(backend, settings.memory_gib)
        problem, u, endings = with_fallback(attempted, first, compute=compute, progress=progress, recorder=recorder)
        with recorder.stage("Finishing"):
            if settings.min_determinant == 0:
                recorder.notes.append("Folds were not prevented (least determinant 0).")
            found = to_transform_field(u, problem.grid, pair.fixed.grid)
        progress.report(1.0, "Deformation done")
        transform = Transform.of([found, problem.start])
        return Result(transform, recorder.diagnostics("; ".join(endings)), settings=settings, start=problem.start)


def _prepared(
    pair: Pair, settings: InstanceSettings, pause: Callable[[], None]
) -> tuple[Problem, InstanceSettings, list[str]]:
    """Return the problem, the settings with the similarity decided, and what the user should know."""
    from .instance_lib.choice import choose_similarity
    from .instance_lib.problem import make_problem

    def make(similarity: str) -> tuple[Problem, list[str]]:
        return make_problem(
            pair,
            coarsen=settings.coarsen,
            resolution_mm=settings.resolution_mm,
            memory_gib=settings.memory_gib,
            similarity=similarity,
            pause=pause,
        )

    problem, notes = make(settings.similarity)
    if settings.similarity != "auto":
        return problem, settings, notes
    choice = choose_similarity(problem)
    if choice.name == "mind":
        problem, notes = make("mind")
    notes.append(f"Similarity '{choice.name}': {choice.reason}.")
    sigma_field = max(settings.sigma_field, choice.sigma_field) if settings.adapt else settings.sigma_field
    return problem, dataclasses.replace(settings, similarity=choice.name, sigma_field=sigma_field), notes
