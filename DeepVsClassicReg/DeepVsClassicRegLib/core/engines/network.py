"""The network engine: one forward pass of a trained model, on any pair of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..device import Compute, torch_device, torch_threads
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
        start = pair.initial or Transform()
        with torch_threads(compute.thread_count):
            with recorder.stage("Choosing the model"):
                choice = choose_model(pair, settings.model, settings.models_folder)
                recorder.notes.extend(choice.notes)
                progress.report(0.05, "Loading the model")
                card, module = load_model(choice.model.folder)
            with recorder.stage("Preparation"):
                progress.report(0.1, "Preparing the volumes")
                inputs = _inputs(pair, start, card, module, settings, device, recorder.notes)
            with recorder.stage("Network"):
                work = partial(_found, module, inputs, settings, compute, progress.part(0.2, 0.85), recorder)
                found, recorder.device = on_device(device, lambda where: work(device=where), recorder.notes)
            with recorder.stage("Finishing"):
                progress.report(0.85, "Finishing the field")
                finished = finished_field(found.displacement, inputs.grid, lowest=settings.min_determinant)
                recorder.notes.extend(finished.notes)
                uncertainty = _uncertainty(found, inputs, recorder.notes)
        progress.report(1.0, "Network done")
        return Result(
            Transform.of([finished.field, start]),
            recorder.diagnostics(f"{settings.passes} forward pass(es) of {card.name}"),
            settings=settings,
            start=start,
            uncertainty=uncertainty,
        )


def _inputs(
    pair: Pair,
    start: Transform,
    card: Card,
    module: Any,
    settings: NetworkSettings,
    device: str,
    notes: list[str],
) -> Inputs:
    """Return both volumes on the model's lattice, coarser when the memory is short."""
    from .network_lib.inputs import make_inputs
    from .network_lib.lattice import affordable_spacing, model_grid
    from .network_lib.memory import GIB, bytes_per_voxel, coarsening, free_bytes

    def grid_at(spacing_mm: float) -> Grid:
        return model_grid(pair, start, spacing_mm=spacing_mm, orientation=card.orientation)

    spacing = settings.resolution_mm or card.spacing_mm
    grid = grid_at(spacing)
    if getattr(module, "scale_free", False) and not settings.resolution_mm:
        spacing = affordable_spacing(grid, pair, voxels=1e6 * settings.voxels_millions)
        grid = grid_at(spacing)
        notes.append(f"Worked at {spacing:.2f} mm.")
    bound = settings.memory_gib * GIB if settings.memory_gib else free_bytes(device)
    factor = coarsening(grid.voxel_count, bytes_per_voxel(module), bound)
    if factor > WORTH_A_NOTE and bound is not None:
        grid = grid_at(spacing * factor)
        notes.append(
            f"Worked at {spacing * factor:.2f} mm instead of {spacing:g} mm to stay within {bound / GIB:.1f} GiB of "
            "memory; details are lost."
        )
    return make_inputs(pair, start, grid)


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


def _uncertainty(found: Found, inputs: Inputs, notes: list[str]) -> Volume | None:
    if found.spread is None:
        return None
    volume = Volume(found.spread * np.float32(min(inputs.grid.spacing_mm)), inputs.grid, "uncertainty mm")
    shown = volume.array[inputs.fixed > 0.1]
    if shown.size:
        middle, high = np.percentile(shown, [50, 95])
        notes.append(f"The network's own uncertainty: {middle:.2f} mm (median), {high:.2f} mm (95th percentile).")
    return volume
