"""The network engine: one forward pass of a trained model, on any pair of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..device import Compute, torch_device, torch_threads
from ..errors import RegistrationError
from ..images.volume import Pair, Volume
from ..progress import Progress
from ..settings import option
from ..transforms.transform import Transform
from .base import TORCH, EngineInfo, Recorder, Requirement, Result

if TYPE_CHECKING:
    from ..images.grid import Grid
    from ..networks.card import Card
    from .network_lib.inputs import Inputs
    from .network_lib.predict import Found

REQUIRES = (TORCH, Requirement(name="safetensors", package="safetensors"))
CITATION = (
    "Hoffmann et al., SynthMorph, IEEE TMI 41:543-558, 2022, doi 10.1109/TMI.2021.3116879; "
    "the chosen model's card names its own paper"
)
WORTH_A_NOTE = 1.02
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class NetworkSettings:
    """Which model is asked, and how."""

    model: str = option(
        "auto",
        "Model",
        listing="models",
        tooltip="auto: the model whose training images look like the volumes. Or a model's name, or its folder.",
    )
    passes: int = option(
        1,
        "Passes",
        minimum=1,
        maximum=8,
        tooltip="2: the network is asked again about what the first pass left over.",
    )
    samples: int = option(
        8,
        "Samples for the uncertainty",
        minimum=0,
        maximum=200,
        tooltip="Fields drawn by models that predict a distribution; below 2: no uncertainty map.",
    )
    resolution_mm: float = option(
        0.0,
        "Working spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="0: as the model was trained; models that work at any scale: as fine as the number of voxels allows.",
        special="automatic",
        advanced=True,
    )
    voxels_millions: float = option(
        3.0,
        "Voxels",
        unit="million",
        minimum=0.05,
        maximum=1000,
        tooltip="About how many voxels a model that works at any scale gets: finer takes longer, and finds more.",
    )
    min_determinant: float = option(
        0.02,
        "Least Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="The field is relaxed where it shrinks further; 0 leaves the network's folds (reported).",
        advanced=True,
    )
    memory_gib: float = option(
        0.0,
        "Memory",
        unit="GiB",
        minimum=0,
        maximum=1024,
        tooltip="0: what is free. The working spacing grows until the network fits.",
        special="automatic",
        advanced=True,
    )
    models_folder: str = option(
        "", "Folder of more models", tooltip="Searched besides the usual places.", advanced=True
    )


class NetworkEngine:
    """A trained network predicts the field at once."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="network",
        title="Deep network",
        summary="A trained network predicts the deformation in seconds; it comes with a model for any anatomy.",
        family="deep",
        settings=NetworkSettings,
        citation=CITATION,
        requires=REQUIRES,
        multimodal=True,
        interruptible=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: NetworkSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        from ..networks.models import load_model
        from .network_lib.choice import choose_model
        from .network_lib.output import finished_field
        from .network_lib.where import on_device

        progress.report(0.0, "Choosing the model")
        device = torch_device(compute.device)
        recorder = Recorder(compute, device=device, packages=("torch", "safetensors"))
        with torch_threads(compute.thread_count):
            with recorder.stage("Choosing the model"):
                choice = choose_model(pair, settings.model, settings.models_folder)
                recorder.notes.extend(choice.notes)
                progress.report(0.05, "Loading the model")
                card, module = load_model(choice.model.folder)
            with recorder.stage("Preparation"):
                progress.report(0.1, "Preparing the volumes")
                unit = 1.0 if getattr(module, "scale_free", False) else choice.unit_mm
                inputs = _inputs(pair, unit, card, module, settings, device, recorder.notes)
            with recorder.stage("Network"):
                work = partial(_found, module, inputs, settings, compute, progress.part(0.2, 0.85), recorder)
                found, recorder.device = on_device(device, lambda where: work(device=where), recorder.notes)
            with recorder.stage("Finishing"):
                progress.report(0.85, "Finishing the field")
                finished = finished_field(found.displacement, inputs.grid, lowest=settings.min_determinant)
                recorder.notes.extend(finished.notes)
                uncertainty = _uncertainty(found, inputs, unit, recorder.notes)
        progress.report(1.0, "Network done")
        start = pair.initial or Transform()
        return Result(
            Transform.of([Transform((finished.field,)).scaled(unit), start]),
            recorder.diagnostics(f"{settings.passes} forward pass(es) of {card.name}"),
            settings=settings,
            start=start,
            uncertainty=uncertainty,
        )


def _inputs(
    pair: Pair,
    unit_mm: float,
    card: Card,
    module: Any,
    settings: NetworkSettings,
    device: str,
    notes: list[str],
) -> Inputs:
    """Return both volumes on the model's lattice, its lengths divided by the unit, coarser when the memory is short.

    Raises
    ------
    RegistrationError
        When the fixed volume is too small for the voxel size the model was trained at.
    """
    from .network_lib.inputs import make_inputs
    from .network_lib.lattice import affordable_spacing, model_grid
    from .network_lib.memory import GIB, bytes_per_voxel, coarsening, free_bytes

    seen = pair.scaled(1 / unit_mm)
    start = seen.initial or Transform()

    def grid_at(spacing_mm: float) -> Grid:
        return model_grid(seen, start, spacing_mm=spacing_mm, orientation=card.orientation)

    free = getattr(module, "scale_free", False)
    spacing = settings.resolution_mm / unit_mm or card.spacing_mm * (pair.fixed.grid.unit_mm if free else 1.0)
    _check_size(seen.fixed.grid, spacing, card)
    grid = grid_at(spacing)
    if free and not settings.resolution_mm:
        spacing = affordable_spacing(grid, seen, voxels=1e6 * settings.voxels_millions)
        grid = grid_at(spacing)
        notes.append(f"Worked at {spacing:.3g} mm.")
    bound = settings.memory_gib * GIB if settings.memory_gib else free_bytes(device)
    factor = coarsening(grid.voxel_count, bytes_per_voxel(module), bound)
    if factor > WORTH_A_NOTE and bound is not None:
        grid = grid_at(spacing * factor)
        notes.append(
            f"Worked at {spacing * factor:.3g} mm instead of {spacing:g} mm to stay within {bound / GIB:.1f} GiB of "
            "memory; details are lost."
        )
    return make_inputs(seen, start, grid)


def _check_size(fixed: Grid, spacing_mm: float, card: Card) -> None:
    longest = float(max(fixed.extent_mm))
    if longest < FEWEST_VOXELS * spacing_mm:
        raise RegistrationError(
            f"The fixed volume is {longest:.3g} mm long; {card.title} looks at voxels of {spacing_mm:.3g} mm.",
            hint="Check the voxel size in the header, set a finer working spacing, or choose another model.",
        )


def _found(
    module: Any,
    inputs: Inputs,
    settings: NetworkSettings,
    compute: Compute,
    progress: Progress,
    recorder: Recorder,
    *,
    device: str,
) -> Found:
    """Ask the network, tracing minus the mutual information before and after each pass."""
    from ..histogram import bin_numbers, joint_histogram, mutual_information
    from .network_lib.predict import predict

    fixed = bin_numbers(inputs.fixed[::2, ::2, ::2], (0.0, 1.0), bins=64)

    def trace(number: int, warped: Any) -> None:
        values = bin_numbers(warped[::2, ::2, ::2], (0.0, 1.0), bins=64)
        recorder.trace("Network", number, -mutual_information(joint_histogram(fixed, values, (64, 64))))

    trace(0, inputs.moving)
    return predict(
        module,
        inputs,
        device=device,
        passes=settings.passes,
        samples=settings.samples,
        seed=compute.seed,
        progress=progress,
        after_pass=trace,
    )


def _uncertainty(found: Found, inputs: Inputs, unit_mm: float, notes: list[str]) -> Volume | None:
    if found.spread is None:
        return None
    grid = inputs.grid.scaled(unit_mm)
    volume = Volume(found.spread * np.float32(min(grid.spacing_mm)), grid, "uncertainty mm")
    shown = volume.array[inputs.fixed > 0.1]
    if shown.size:
        middle, high = np.percentile(shown, [50, 95])
        notes.append(f"The network's own uncertainty: {middle:.3g} mm (median), {high:.3g} mm (95th percentile).")
    return volume
