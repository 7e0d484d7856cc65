"""Deformable registration by an agent: one small change of a deformation mode after another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...device import Compute, torch_device, torch_threads
from ...numba_setup import kernel_threads
from ...pair import Pair
from ...progress import Progress
from ...settings import option
from ...transforms.transform import Transform
from ..base import MODEL_REQUIRES, EngineInfo, Recorder, Result
from ..device_fallback import with_cpu_fallback
from .model import AUTO, agent_model
from .walk import walk

if TYPE_CHECKING:
    from ...networks.card import Card

METHOD = "deformable-agent"
NAME = "Walk"
Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class DeformableAgentEngineSettings:
    """Which agent, and how far it may go."""

    model: str = option(
        AUTO,
        "Model",
        listing="models:agent",
        tooltip="A model of the method deformable-agent, by name or folder; auto: the first one that is installed.",
    )
    steps: int = option(300, "Most steps", minimum=1, maximum=10_000)
    limit: float = option(
        3.0,
        "Largest coefficient",
        unit="standard deviations",
        tooltip="Actions beyond it are not taken.",
        minimum=0.1,
        maximum=10,
    )
    min_determinant: float = option(
        0.02,
        "Lowest Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="Where the Jacobian determinant is lower, the field is smoothed; 0 keeps folds.",
        advanced=True,
    )


class DeformableAgentEngine:
    """Deformable registration by a trained agent."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="agent-deformable",
        title="Deformable agent",
        summary="A trained agent deforms by one small change of a statistical deformation model after another.",
        family="deep",
        settings=DeformableAgentEngineSettings,
        citation="Krebs et al., MICCAI 2017, doi 10.1007/978-3-319-66182-7_40",
        requires=MODEL_REQUIRES,
        multimodal=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: DeformableAgentEngineSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`.

        Raises
        ------
        FileError
            When there is no model.
        RegistrationError
            When the model is not a deformable agent.
        """
        from ...networks.model_store import load_model
        from ..network.model_choice import training_unit_mm
        from ..network.output import finished_field

        recorder = Recorder(compute, device=torch_device(compute.device), packages=("torch", "safetensors"))
        with torch_threads(compute.thread_count):
            with recorder.stage("Loading the model"):
                card, network = load_model(agent_model(settings.model, METHOD).folder)
                recorder.notes.append(f"Agent: {card.title}.")
            unit = training_unit_mm(pair, card)
            work = partial(_walked, network, card, pair.scaled(1 / unit), settings, progress, recorder)
            (u, grid, ending), recorder.device = with_cpu_fallback(recorder.device, work, recorder.notes)
        with recorder.stage("Finishing"), kernel_threads(compute.thread_count):
            progress.report(0.95, "Finishing the field")
            finished = finished_field(u, grid, lowest=settings.min_determinant)
            recorder.notes.extend(finished.notes)
        start = pair.initial or Transform()
        found = Transform.of([Transform((finished.field,)).scaled(unit), start])
        progress.report(1.0, "Registration done")
        return Result(found, recorder.diagnostics(ending), settings=settings, start=start)


def _walked(
    network: Any,
    card: Card,
    pair: Pair,
    settings: DeformableAgentEngineSettings,
    progress: Progress,
    recorder: Recorder,
    device: str,
) -> tuple[Array, Any, str]:
    """Return the displacement (3, Z, Y, X) in voxels, its grid, and why the walk ended.

    The trace is the expected distance to alignment in standard deviations of the modes.
    """
    import torch

    from ...networks.flow import warp
    from ..network.inputs import make_inputs
    from .view import agent_grid

    network = network.to(device)
    with recorder.stage("Preparation"):
        progress.report(0.02, "Preparing the volumes")
        grid = agent_grid(pair.fixed, card.size, spacing_mm=card.spacing_mm)
        inputs = make_inputs(pair, pair.initial or Transform(), grid)
        fixed, moving = (torch.from_numpy(image)[None, None].to(device) for image in (inputs.fixed, inputs.moving))

    def displacement(coefficients: Array) -> torch.Tensor:
        given = torch.from_numpy(coefficients[None]).float().to(device)
        return network.model.displacement(given, fixed.shape[2:])

    def judge(coefficients: Array) -> tuple[Array, float]:
        found = network.level(fixed, warp(moving, displacement(coefficients)))
        values = found.values[0].cpu().numpy().reshape(-1, 2)
        possible = np.stack([coefficients + network.step, network.step - coefficients], 1) <= settings.limit
        return np.where(possible, values, -np.inf).ravel(), float(found.distance[0])

    def moved(coefficients: Array, action: int) -> Array:
        mode, sign = divmod(action, 2)
        following = coefficients.copy()
        following[mode] += network.step * (1 - 2 * sign)
        return following

    def visited(step: int, distance: float) -> None:
        recorder.trace(NAME, step, distance * network.step)
        progress.report(0.05 + 0.9 * step / settings.steps, NAME, metric=distance * network.step, iteration=step)

    with recorder.stage(NAME), torch.no_grad():
        found = walk(
            np.zeros(network.modes),
            judge,
            moved,
            lambda first, second: float(np.abs(first - second).max()) / network.step,
            limit=settings.steps,
            visited=visited,
        )
        recorder.notes.append(f"{len(found.places) - 1} steps, {found.ending}.")
        return displacement(found.place)[0].cpu().numpy(), grid, found.ending
