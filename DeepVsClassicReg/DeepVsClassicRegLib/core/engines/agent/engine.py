"""Rigid alignment by an agent: a trained network chooses one small shift or turn after another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...device import Compute, torch_device, torch_threads
from ...pair import Pair
from ...progress import Progress
from ...settings import option
from ...transforms.transform import Affine, Transform
from ..base import MODEL_REQUIRES, EngineInfo, Recorder, Result
from ..device_fallback import with_cpu_fallback
from ..engine_input import first_guesses, given_start
from .model import AUTO, agent_model
from .walk import Walk, walk

if TYPE_CHECKING:
    from ...networks.card import Card
    from .view import PoseView

METHOD = "rigid-agent"


@dataclass(frozen=True)
class AgentSettings:
    """Which agent, and how far it may go."""

    model: str = option(
        AUTO,
        "Model",
        listing="models:agent",
        tooltip="A model of the method rigid-agent, by name or folder; auto: the first one that is installed.",
    )
    steps: int = option(120, "Most steps", tooltip="At each level of the agent.", minimum=1, maximum=10_000)
    finest: bool = option(True, "Finer levels", tooltip="Off: only the coarsest level, for a first rough alignment.")


class AgentEngine:
    """Rigid alignment by a trained agent."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="agent",
        title="Rigid agent",
        summary="Rigid alignment by a trained agent, which takes one small shift or turn after another.",
        family="linear",
        settings=AgentSettings,
        citation="Liao et al., AAAI 2017, arXiv 1611.10336",
        requires=MODEL_REQUIRES,
        starts_linear=False,
        multimodal=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: AgentSettings, progress: Progress, compute: Compute) -> Result:
        """Align the pair; see `Engine.run`.

        A linear `pair.initial` is where the walk begins; without one, the headers or the centers of what both volumes
        show, whichever the agent expects to be nearer.

        Raises
        ------
        FileError
            When there is no model.
        RegistrationError
            When the initial transform is not linear or the model is not a rigid agent.
        """
        from ...networks.model_store import load_model

        recorder = Recorder(compute, device=torch_device(compute.device), packages=("torch", "safetensors"))
        given = given_start(pair, "The rigid agent")
        with torch_threads(compute.thread_count):
            with recorder.stage("Loading the model"):
                card, network = load_model(agent_model(settings.model, METHOD).folder)
                recorder.notes.append(f"Agent: {card.title}.")
            work = partial(_aligned, network, card, pair, given, settings, progress, recorder)
            (found, ending), recorder.device = with_cpu_fallback(recorder.device, work, recorder.notes)
        progress.report(1.0, "Alignment done")
        transform = Transform((found,))
        return Result(transform, recorder.diagnostics(ending), settings=settings, start=transform)


def _aligned(
    network: Any,
    card: Card,
    pair: Pair,
    given: Affine | None,
    settings: AgentSettings,
    progress: Progress,
    recorder: Recorder,
    device: str,
) -> tuple[Affine, str]:
    """Return the pose after the walks of all levels, and why the last one ended."""
    import torch

    from .view import PoseView, agent_grid

    network = network.to(device)
    levels = network.count if settings.finest else 1
    with recorder.stage("Preparation"):
        progress.report(0.02, "Preparing the volumes")
        view = PoseView(pair, agent_grid(pair.fixed, card.size), device=device)
        recorder.notes.append(f"Voxels of the agent: {view.grid.spacing_mm[0]:.3g} mm.")
    with torch.no_grad():
        with recorder.stage("Start"):
            pose = _start(network, view, pair) if given is None else given
        ending = ""
        for number in range(levels):
            name = f"Level {number + 1} of {levels}"
            with recorder.stage(name):
                part = progress.part(0.05 + 0.95 * number / levels, 0.05 + 0.95 * (number + 1) / levels)
                found = _walked(network, view, pose, number, settings, part, recorder, name)
            pose, ending = found.place, found.ending
            steps = len(found.places) - 1
            recorder.notes.append(f"{name}: {steps} steps, {ending}.")
    return pose, ending


def _start(network: Any, view: PoseView, pair: Pair) -> Affine:
    """Return the headers or the centers of what both volumes show, whichever the agent expects to be nearer."""
    return min(
        first_guesses(pair), key=lambda start: float(network.level(view.fixed, view.warped(start), 0).distance[0])
    )


def _walked(
    network: Any,
    view: PoseView,
    start: Affine,
    number: int,
    settings: AgentSettings,
    progress: Progress,
    recorder: Recorder,
    name: str,
) -> Walk[Affine]:
    """Return the walk of one level; its trace is the expected distance to alignment in mm (and degrees)."""
    from ...networks.rigid_agent import action_map

    step_vox, step_deg = network.shift_vox[number], network.turn_deg[number]
    step_mm = step_vox * view.grid.spacing_mm[0]
    center = network.level(view.fixed, view.warped(start), number).center[0]
    actions = [view.action(*action_map(action, step_vox, step_deg), center) for action in range(network.actions)]
    about = view.grid.index_to_point(np.asarray(center.cpu(), float)[::-1])

    def judge(pose: Affine) -> tuple[Any, float]:
        found = network.level(view.fixed, view.warped(pose), number)
        return found.values[0].cpu().numpy(), float(found.distance[0])

    def visited(step: int, distance: float) -> None:
        recorder.trace(name, step, distance * step_mm)
        progress.report(step / settings.steps, name, metric=distance * step_mm, iteration=step)

    def apart(first: Affine, second: Affine) -> float:
        between = first.then(second.inverse())
        turned = np.degrees(np.arccos(np.clip((np.trace(between.matrix) - 1) / 2, -1, 1)))
        shifted = float(np.linalg.norm(between.apply(about) - about))
        return max(shifted / step_mm, float(turned) / step_deg)

    return walk(
        start,
        judge,
        lambda pose, action: actions[action].then(pose),
        apart,
        limit=settings.steps,
        visited=visited,
    )
