"""The network engine: one forward pass of a trained model, on any pair of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from ...device import Compute, torch_device, torch_threads
from ...errors import RegistrationError, SettingsError
from ...images.volume import Volume
from ...numba_setup import kernel_threads
from ...pair import Pair
from ...progress import Progress
from ...result import Extra
from ...settings import option
from ...transforms.transform import Transform
from ..base import MODEL_REQUIRES, EngineInfo, Recorder, Result
from ..device_fallback import with_cpu_fallback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...images.grid import Grid
    from ...networks.base import RegistrationNetwork
    from ...networks.card import Card
    from ...transforms.transform import DisplacementField
    from .inputs import NetworkInputs
    from .predict import NetworkOutput

CITATION = (
    "Hoffmann et al., SynthMorph, IEEE TMI 41:543-558, 2022, doi 10.1109/TMI.2021.3116879; "
    "the card of the selected model names its own paper"
)
WORTH_A_NOTE = 1.02
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of the network engine."""

    model: str = option(
        "auto",
        "Model",
        listing="models",
        tooltip="A model by name or folder; auto selects the one whose training images resemble the volumes.",
    )
    passes: int = option(
        1,
        "Passes",
        minimum=1,
        maximum=8,
        tooltip="Number of passes; in each further pass the network registers the remaining difference.",
    )
    samples: int = option(
        8,
        "Samples for the uncertainty",
        minimum=0,
        maximum=200,
        tooltip="Random fields of models that predict a distribution; with fewer than 2 there is no uncertainty map.",
    )
    resolution_mm: float = option(
        0.0,
        "Working spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="Voxel size of the network. 0 uses that of the training; models for any scale use the limit of voxels.",
        special="automatic",
        advanced=True,
    )
    voxels_millions: float = option(
        3.0,
        "Voxels",
        unit="million",
        minimum=0.05,
        maximum=1000,
        tooltip="Approximate number of voxels for models that work at any scale; more are slower and more accurate.",
    )
    min_determinant: float = option(
        0.02,
        "Lowest Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="Where the Jacobian determinant is lower, the field is smoothed; 0 keeps the folds of the network.",
        advanced=True,
    )
    memory_gib: float = option(
        0.0,
        "Memory",
        unit="GiB",
        minimum=0,
        maximum=1024,
        tooltip="Memory limit; 0 uses the free memory. The voxel size is increased until the network fits.",
        special="automatic",
        advanced=True,
    )
    adaptation: int = option(
        -1,
        "Adaptation steps",
        minimum=-1,
        maximum=1000,
        tooltip="Gradient steps on this pair, for networks that support it; -1: default of the network, 0: none.",
        advanced=True,
    )
    transfer_to: str = option(
        "",
        "Transfer to",
        tooltip="File of another subject's moving volume, to which the deformation is transferred (method krebs-cvae).",
        advanced=True,
    )
    models_folder: str = option("", "Folder of more models", tooltip="Additional folder with models.", advanced=True)


class NetworkEngine:
    """Registration by one forward pass of a trained network."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="network",
        title="Deep network",
        summary="A trained network predicts the deformation in seconds; a model for any anatomy is included.",
        family="deep",
        settings=NetworkSettings,
        citation=CITATION,
        requires=MODEL_REQUIRES,
        multimodal=True,
        single_slices=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: NetworkSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        return self.run_with_field(pair, settings, progress, compute)[0]

    def run_with_field(
        self, pair: Pair, settings: NetworkSettings, progress: Progress, compute: Compute
    ) -> tuple[Result, DisplacementField]:
        """Register the pair, and also return the displacement relative to the start as one field."""
        from ...networks.model_store import load_model
        from .model_choice import choose_model

        progress.report(0.0, "Choosing the model")
        recorder = Recorder(compute, device=torch_device(compute.device), packages=("torch", "safetensors"))
        with torch_threads(compute.thread_count):
            with recorder.stage("Choosing the model"):
                choice = choose_model(pair, settings.model, settings.models_folder)
                recorder.notes.extend(choice.notes)
                progress.report(0.05, "Loading the model")
                card, network = load_model(choice.model.folder)
            found = register_with(network, card, pair, settings, progress.part(0.1, 1.0), compute, recorder)
        progress.report(1.0, "Network done")
        result = Result(
            found.transform,
            recorder.diagnostics(f"{settings.passes} forward pass(es) of {card.name}"),
            settings=settings,
            start=pair.initial or Transform(),
            uncertainty=found.uncertainty,
            extras=found.extras,
            by_structures=choice.in_domain and bool(card.supervised_labels),
        )
        return result, found.field


@dataclass(frozen=True, eq=False)
class Registered:
    """The result of a network for a pair.

    Attributes
    ----------
    transform : Transform
        The complete transform.
    field : DisplacementField
        Displacement relative to the start.
    uncertainty : Volume or None
        As in `Result`.
    extras : tuple of Extra
        As in `Result`.
    """

    transform: Transform
    field: DisplacementField
    uncertainty: Volume | None
    extras: tuple[Extra, ...]


def register_with(
    network: RegistrationNetwork,
    card: Card,
    pair: Pair,
    settings: NetworkSettings,
    progress: Progress,
    compute: Compute,
    recorder: Recorder,
) -> Registered:
    """Register a pair with a network and the card of its model; also used to validate networks in training.

    Parameters
    ----------
    network : RegistrationNetwork
        In evaluation mode.
    card : Card
        Voxel size, orientation and dimensions.
    pair : Pair
        The pair with its linear start, if there is one.
    settings, progress, compute
        As of an engine.
    recorder : Recorder
        Receives times, trace and notes; its device is set to the CPU when the GPU fails.
    """
    from .model_choice import training_unit_mm
    from .output import finished_field, in_space, result_extras, transform_parts
    from .transfer import checked_other, transferred

    other = checked_other(settings.transfer_to, network, card)
    unit = 1.0 if network.scale_free else training_unit_mm(pair, card)
    seen, lowest = pair.scaled(1 / unit), settings.min_determinant
    start = seen.initial or Transform()
    if settings.adaptation > 0 and not network.adaptation_steps:
        raise SettingsError(
            f"The model '{card.name}' has no test-time adaptation, got {settings.adaptation} adaptation steps.",
            hint="Set adaptation to -1.",
        )
    with recorder.stage("Preparation"):
        progress.report(0.0, "Preparing the volumes")
        inputs = _inputs(seen, start, unit, card, network, settings, recorder.device, recorder.notes)
    with recorder.stage("Network"):
        work = partial(_output, network, inputs, settings, compute, progress.part(0.1, 0.85), recorder)
        output, recorder.device = with_cpu_fallback(recorder.device, lambda device: work(device=device), recorder.notes)
    # Repairing folds uses numba's threads.
    with recorder.stage("Finishing"), kernel_threads(compute.thread_count):
        progress.report(0.85, "Finishing the field")
        finished = finished_field(in_space(output.displacement), inputs.grid, lowest=lowest)
        recorder.notes.extend(finished.notes)
        parts = transform_parts(output.parts, finished, inputs.grid)
        extras = result_extras(output, inputs.grid, start, lowest=lowest, unit_mm=unit)
        if other is not None:
            extras += transferred(network, card, inputs, other, lowest=lowest, unit_mm=unit)
        return Registered(
            Transform.of([Transform(parts).scaled(unit), pair.initial or Transform()]),
            _only_field(Transform((finished.field,)).scaled(unit)),
            _uncertainty(output, inputs, unit, recorder.notes),
            extras,
        )


def _only_field(transform: Transform) -> DisplacementField:
    return cast("DisplacementField", transform.parts[0])


def transform_with(network: RegistrationNetwork, card: Card, pair: Pair, compute: Compute) -> Transform:
    """Return the complete transform of a pair from a network with the default settings of the engine."""
    recorder = Recorder(compute, device=torch_device(compute.device))
    return register_with(network, card, pair, NetworkSettings(samples=0), Progress(), compute, recorder).transform


def _inputs(
    pair: Pair,
    start: Transform,
    unit_mm: float,
    card: Card,
    network: RegistrationNetwork,
    settings: NetworkSettings,
    device: str,
    notes: list[str],
) -> NetworkInputs:
    """Return both volumes on the model's grid, coarser if memory is limited.

    Parameters
    ----------
    pair, start : Pair, Transform
        Pair and start with lengths divided by the unit.
    unit_mm : float
        Length in the headers that corresponds to 1 mm of the training images; settings are in the headers' unit.

    Raises
    ------
    RegistrationError
        When the fixed volume is too small for the voxel size of the model.
    """
    from .grid import affordable_spacing, model_grid, plane_grid
    from .inputs import make_inputs
    from .memory import GIB, fitting_factor, free_bytes

    plane, multiple = card.dimensions == 2, max(16, network.multiple)

    def grid_at(spacing_mm: float) -> Grid:
        if plane:
            return plane_grid(pair.fixed.grid, spacing_mm=spacing_mm, multiple=multiple)
        return model_grid(pair, start, spacing_mm=spacing_mm, orientation=card.orientation, multiple=multiple)

    free = network.scale_free
    spacing = settings.resolution_mm / unit_mm or card.spacing_mm * (pair.fixed.grid.unit_mm if free else 1.0)
    _check_size(pair.fixed.grid, spacing, card)
    grid = grid_at(spacing)
    if network.scale_free and not settings.resolution_mm and not plane:
        spacing = affordable_spacing(grid, pair, voxels=1e6 * settings.voxels_millions)
        grid = grid_at(spacing)
        notes.append(f"Working spacing: {spacing:.3g} mm.")
    bound = settings.memory_gib * GIB if settings.memory_gib else free_bytes(device)
    if bound is not None:

        def shape_at(factor: float) -> Sequence[int]:
            shape = (grid if factor == 1 else grid_at(spacing * factor)).shape
            return shape[1:] if plane else shape

        factor = fitting_factor(shape_at, network, bound)
        if factor > WORTH_A_NOTE:
            grid = grid_at(spacing * factor)
            notes.append(
                f"Working spacing: {spacing * factor:.3g} mm instead of {spacing:g} mm to stay within "
                f"{bound / GIB:.1f} GiB of memory; details are lost."
            )
    return make_inputs(pair, start, grid, plane=plane)


def _check_size(fixed: Grid, spacing_mm: float, card: Card) -> None:
    longest = float(max(fixed.extent_mm))
    if longest < FEWEST_VOXELS * spacing_mm:
        raise RegistrationError(
            f"The fixed volume is {longest:.3g} mm long; {card.title} needs voxels of {spacing_mm:.3g} mm.",
            hint="Check the voxel size in the header, set a finer working spacing, or choose another model.",
        )


def _output(
    network: RegistrationNetwork,
    inputs: NetworkInputs,
    settings: NetworkSettings,
    compute: Compute,
    progress: Progress,
    recorder: Recorder,
    *,
    device: str,
) -> NetworkOutput:
    """Run the network; the trace is the negative mutual information before and after each pass."""
    from ...histogram import bin_numbers, joint_histogram, mutual_information
    from .predict import predict

    every_other = (slice(None, None, 2),) * inputs.fixed.ndim
    fixed = bin_numbers(inputs.fixed[every_other], (0.0, 1.0), bins=64)

    def trace(number: int, warped: Any) -> None:
        values = bin_numbers(warped[every_other], (0.0, 1.0), bins=64)
        recorder.trace("Network", number, -mutual_information(joint_histogram(fixed, values, (64, 64))))

    trace(0, inputs.moving)
    return predict(
        network,
        inputs,
        device=device,
        passes=settings.passes,
        samples=settings.samples,
        seed=compute.seed,
        progress=progress,
        after_pass=trace,
        adaptation_steps=network.adaptation_steps if settings.adaptation < 0 else settings.adaptation,
    )


def _uncertainty(output: NetworkOutput, inputs: NetworkInputs, unit_mm: float, notes: list[str]) -> Volume | None:
    if output.spread is None:
        return None
    grid = inputs.grid.scaled(unit_mm)
    volume = Volume(output.spread.reshape(grid.shape) * np.float32(min(grid.spacing_mm)), grid, "uncertainty mm")
    shown = volume.array[inputs.fixed.reshape(grid.shape) > 0.1]
    if shown.size:
        middle, high = np.percentile(shown, [50, 95])
        notes.append(f"Uncertainty of the network: {middle:.3g} mm (median), {high:.3g} mm (95th percentile).")
    return volume
