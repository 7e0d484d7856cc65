"""Phantoms, results and node counts for the tests of the mrml room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer
from DeepVsClassicRegLib.core.phantom.phantom import Phantom, make_phantom
from testing_grids import rotation


def oblique_phantom() -> Phantom:
    """Return a small head phantom on oblique, anisotropic grids, the fixed one left-handed."""
    return make_phantom("head", fixed_grid=_grid((32, 28, 24), 1, True), moving_grid=_grid((30, 26, 28), 2, False))


def _grid(size: tuple[int, int, int], seed: int, left_handed: bool) -> Any:
    from DeepVsClassicRegLib.core.images.grid import Grid

    # Nearly axis-aligned, so that the head stays inside: a rotation's cube root by averaging with the axes.
    turn, _ = np.linalg.qr(np.eye(3) * 4 + rotation(seed))
    turn = turn * np.sign(np.diag(turn))
    if left_handed:
        turn[:, 0] *= -1
    spacing = np.array([190.0, 200.0, 180.0]) / np.array(size)
    first = -turn @ (spacing * (np.array(size) - 1) / 2)
    return Grid(size, tuple(spacing), tuple(first), tuple(turn.ravel()))


def _numbered(labels: Any) -> Any:
    """Return labels numbered 1..n in ascending order, as a snapshot numbers the segments of the phantom's nodes."""
    from DeepVsClassicRegLib.core.images.volume import LabelMap

    numbers = np.searchsorted(np.array(labels.labels), labels.array) + 1
    names = {index + 1: labels.names[label] for index, label in enumerate(labels.labels)}
    return LabelMap(np.where(labels.array > 0, numbers, 0), labels.grid, names)


def true_result(phantom: Phantom) -> SimpleNamespace:
    """Return the phantom's own transform as the result of an engine called 'truth', with its evaluation."""
    from DeepVsClassicRegLib.core.engines.base import Diagnostics, TracePoint
    from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
    from DeepVsClassicRegLib.core.result import Result

    pair = phantom.pair.replace(
        fixed_labels=_numbered(phantom.pair.fixed_labels), moving_labels=_numbered(phantom.pair.moving_labels)
    )
    trace = tuple(TracePoint("Deform", step, -1.0 - 0.1 * step) for step in range(5))
    diagnostics = Diagnostics(trace=trace, seconds={"Deform": 1.5})
    result = Result(phantom.truth, diagnostics, engine="truth", preset="default")
    evaluation = evaluate(pair, result, threads=1)
    return SimpleNamespace(pair=pair, result=result, evaluation=evaluation)


def inputs_of(nodes: Any, **changes: Any) -> Any:
    """Return the inputs of a phantom's nodes."""
    from DeepVsClassicRegLib.mrml.inputs import Inputs

    roles = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
    return Inputs(**{**{role: getattr(nodes, role) for role in roles}, **changes})


def publish_truth(nodes: Any, result: Any, **options: Any) -> Any:
    """Publish the phantom's own result and return the run."""
    from DeepVsClassicRegLib.mrml.outputs import publish
    from DeepVsClassicRegLib.mrml.snapshot import snapshot

    inputs = options.pop("inputs", None) or inputs_of(nodes)
    loaded = options.pop("loaded", None) or loaded_of(result)
    return publish(loaded, inputs, options.pop("snapshot", None) or snapshot(inputs), **options)


def loaded_of(result: Any) -> Any:
    """Return a result of this process as if it had been read from a worker's folder."""
    from DeepVsClassicRegLib.core.evaluation.make_report import make_report
    from DeepVsClassicRegLib.mrml.outputs import loaded_result

    found, evaluation = result.result, result.evaluation
    return loaded_result(
        found.transform,
        warped=evaluation.warped,
        jacobian=evaluation.jacobian,
        uncertainty=found.uncertainty,
        error=None if evaluation.error_map is None else evaluation.error_map.volume,
        extras=[({"title": extra.title, "kind": extra.kind}, extra.value) for extra in found.extras],
        warped_labels=evaluation.warped_labels,
        report=make_report(result.pair, found, evaluation),
    )


def set_transform(node: Any, transform: Any) -> None:
    """Put a fixed-to-moving map into a transform node, as publishing does."""
    from DeepVsClassicRegLib.mrml.transforms import attach, vtk_of

    attach(node, vtk_of(transform))


def transform_of(node: Any, grid: Any) -> Any:
    """Return the fixed-to-moving map of a node and of its parents, as the inputs of a run are read."""
    from DeepVsClassicRegLib.mrml.transforms import flattened, resolved

    return resolved(flattened(node), grid)


def node_ids() -> set[str]:
    """Return the ids of all nodes in the scene, to find what was left behind."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def map_points(mapping: Any, points_mm: np.ndarray) -> np.ndarray:
    """Return LPS points mapped by a VTK transform of RAS points."""
    from DeepVsClassicRegLib.mrml.geometry import flipped

    return flipped([mapping.TransformPoint(point) for point in flipped(points_mm).tolist()])
