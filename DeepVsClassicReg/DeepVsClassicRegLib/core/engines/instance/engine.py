"""The instance engine: dense diffeomorphic optimization of one pair, implemented in this project."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ...device import Compute
from ...errors import RegistrationError
from ...images.grid import Grid, is_single_slice
from ...pair import Pair
from ...progress import Progress
from ...transforms.transform import DisplacementField, Transform
from ...transforms.unfold import unfolded
from ...transforms.units import channels_to_mm, mm_to_channels
from ..base import EngineInfo, Recorder, Result
from .backend import Attempt, choose_backend, first_that_fits
from .level import Field
from .locality import Neighborhood
from .problem import OptimizationProblem, make_problem
from .settings import InstanceSettings, is_trained
from .similarity_selection import select_similarity
from .solve import solve


class InstanceEngine:
    """Coarse-to-fine compositive registration with local correlation and other similarities."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="instance",
        title="Instance optimization",
        summary="Dense diffeomorphic registration of this project: accurate, without folds, seconds on a laptop.",
        family="classical",
        settings=InstanceSettings,
        citation="Avants et al., Med. Image Anal. 12:26-41, 2008, doi 10.1016/j.media.2007.06.004 (local correlation); "
        "Vercauteren et al., NeuroImage 45:S61-S72, 2009, doi 10.1016/j.neuroimage.2008.10.040 (compositive steps)",
        uses_annotations=True,
        uses_masks=True,
        keeps_bodies=True,
        multimodal=True,
        single_slices=True,
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
        """Register the pair, starting from the field of another engine with the same linear start.

        Unlike a field in `pair.initial`, it is regularized and unfolded together with the added displacement.

        Parameters
        ----------
        field : DisplacementField or None
            Applied before `pair.initial`; the search of large motion is skipped.
        """
        progress.report(0.0, "Preparing the volumes")
        torch_for = _needs_torch(pair, settings)
        backend = choose_backend(compute, progress, torch_for=torch_for)
        recorder = Recorder(compute, device=backend.device, packages=backend.packages)
        recorder.notes.extend(backend.notes)
        within = _neighborhood(pair, settings)

        if settings.structures == "auto":
            with recorder.stage("Segmentation"):
                pair = _with_structures(pair, compute, progress.part(0.0, 0.05))
            settings = dataclasses.replace(settings, label_weight=settings.label_weight or 1.0)
            recorder.notes.append("Structures estimated by a network were aligned besides the intensities.")

        def attempted(attempt: Attempt) -> tuple[OptimizationProblem, Field, list[str]]:
            limited = dataclasses.replace(settings, memory_gib=attempt.memory_gib)
            with recorder.stage("Preparation"):
                problem, chosen, notes = _prepared(pair, limited, within, progress.check)
            recorder.notes.extend(notes)
            begun = None if field is None else to_working_field(field, problem.grid)
            u, endings = solve(pair, problem, chosen, attempt.backend, progress.part(0.05, 0.95), recorder, begun)
            if within is not None:
                u = _fading(u, within, problem.grid, settings.min_determinant)
            return problem, u, endings

        first = Attempt(backend, settings.memory_gib)
        problem, u, endings = first_that_fits(
            attempted, first, compute=compute, progress=progress, recorder=recorder, torch_for=torch_for
        )
        with recorder.stage("Finishing"):
            if settings.min_determinant == 0:
                recorder.notes.append("Folds were not prevented (lowest determinant 0).")
            covered = pair.fixed.grid if within is None else problem.grid
            found = to_transform_field(u, problem.grid, covered)
        progress.report(1.0, "Deformation done")
        transform = Transform.of([found, problem.start])
        return Result(
            transform,
            recorder.diagnostics("; ".join(endings)),
            settings=settings,
            start=problem.start,
            by_structures=settings.landmark_weight > 0,
        )


def _needs_torch(pair: Pair, settings: InstanceSettings) -> str:
    """Return what of a run is computed with torch on every device; empty when nothing is."""
    if is_trained(settings.similarity):
        return "Trained similarities"
    # Windows and descriptors of the CPU kernels are those of volumes.
    return "Single slices" if is_single_slice(pair.fixed.grid.size) else ""


def _with_structures(pair: Pair, compute: Compute, progress: Progress) -> Pair:
    """Return the pair with segmentations estimated by a network, also where it has others."""
    from ..segmentation import with_estimated_labels

    bare = pair.replace(fixed_labels=None, moving_labels=None)
    return with_estimated_labels(bare, device=compute.device, threads=compute.threads, progress=progress)


def _neighborhood(pair: Pair, settings: InstanceSettings) -> Neighborhood | None:
    """Return the part of the fixed volume that is registered; None when it is everything."""
    if settings.landmark_region == 0:
        return None
    if settings.landmark_weight == 0 or pair.fixed_points is None or not len(pair.fixed_points):
        raise RegistrationError(
            "Only the region around landmarks is to be registered, but no landmarks are used.",
            hint="Give landmarks of both volumes and a weight of landmarks, or set the region to 0.",
        )
    return Neighborhood(pair.fixed_points, settings.landmark_region * pair.fixed.grid.unit_mm)


def _fading(u: Field, within: Neighborhood, grid: Grid, lowest: float) -> Field:
    """Return the field reduced to 0 toward the end of the region, without folds."""
    faded = within.faded(u, grid)
    return unfolded(faded, lowest=lowest)[0] if lowest > 0 else faded


def _prepared(
    pair: Pair, settings: InstanceSettings, within: Neighborhood | None, check_cancelled: Callable[[], None]
) -> tuple[OptimizationProblem, InstanceSettings, list[str]]:
    """Return the problem, the settings with the selected similarity, and notes for the user."""

    def make(similarity: str, *, continues: bool = True) -> tuple[OptimizationProblem, list[str]]:
        return make_problem(
            pair,
            coarsen=settings.coarsen,
            resolution_mm=settings.resolution_mm,
            memory_gib=settings.memory_gib,
            similarity=similarity,
            continues=continues,
            within=within,
            check_cancelled=check_cancelled,
        )

    problem, notes = make(settings.similarity)
    if settings.similarity != "auto":
        return problem, settings, notes
    selected = select_similarity(problem)
    if selected.name == "mind":
        # A rough start does not tell where in the body a partial view ends, so its border may move.
        problem, notes = make("mind", continues=not selected.rough_start)
    notes.append(f"Similarity '{selected.name}': {selected.reason}.")
    sigma_field = max(settings.sigma_field, selected.sigma_field) if settings.adapt else settings.sigma_field
    return problem, dataclasses.replace(settings, similarity=selected.name, sigma_field=sigma_field), notes


def to_transform_field(u: Field, grid: Grid, fixed: Grid) -> DisplacementField:
    """Return the displacements in mm on the working grid, extended to cover the fixed volume.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        z, y, x in voxels of `grid`.
    grid : Grid
        The working grid.
    fixed : Grid
        The grid to cover. A field is 0 outside its grid, so the border values are continued up to the border of the
        fixed volume to avoid a discontinuity inside.
    """
    corners = np.array([[i, j, k] for i in (-0.5, 1) for j in (-0.5, 1) for k in (-0.5, 1)])
    ends = np.where(corners < 0, -0.5, np.array(fixed.size) - 0.5)
    index = grid.point_to_index(fixed.index_to_point(ends))
    before = np.maximum(np.ceil(-index.min(axis=0) - 1e-6), 0).astype(int)
    after = np.maximum(np.ceil(index.max(axis=0) - (np.array(grid.size) - 1) - 1e-6), 0).astype(int)
    widths = [(int(before[axis]), int(after[axis])) for axis in (2, 1, 0)]
    wide = grid.cropped([-int(b) for b in before], [int(n) for n in np.array(grid.size) + before + after])
    field = channels_to_mm(u, grid)
    if before.any() or after.any():
        field = np.pad(field, [*widths, (0, 0)], mode="edge")
    return DisplacementField(field, wide)


def to_working_field(field: DisplacementField, grid: Grid) -> Field:
    """Return displacements (3, Z, Y, X), z, y, x in voxels of the working grid, from a field in mm."""
    sampled = Transform((field,)).displacement_on(grid).array_mm
    return np.ascontiguousarray(mm_to_channels(sampled, grid), dtype=np.float32)
