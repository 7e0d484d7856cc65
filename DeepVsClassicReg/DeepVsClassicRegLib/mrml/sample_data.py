"""The phantom pairs in Slicer's sample data: generated on this computer, nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from ..core.evaluation.colors import FIXED_OUTLINE, WARPED_OUTLINE
from .nodes import add_labels, add_points, add_volume

if TYPE_CHECKING:
    from ..core.pair import Pair
    from ..core.phantom.phantom import Phantom

CATEGORY = "Registration"
# Name of the sample -> kind of the phantom.
SAMPLES = {"DeepVsClassicRegPhantom": "head", "DeepVsClassicRegLung": "lung"}


@dataclass(frozen=True)
class PhantomNodes:
    """The nodes of a phantom pair."""

    fixed: slicer.vtkMRMLScalarVolumeNode
    moving: slicer.vtkMRMLScalarVolumeNode
    fixed_labels: slicer.vtkMRMLSegmentationNode
    moving_labels: slicer.vtkMRMLSegmentationNode
    fixed_points: slicer.vtkMRMLMarkupsFiducialNode
    moving_points: slicer.vtkMRMLMarkupsFiducialNode


def generate_phantom(kind: str = "head", *, size: int = 96, seed: int = 0) -> Phantom:
    """Generate a phantom pair; takes seconds, thread-safe."""
    from ..core.phantom.phantom import make_phantom

    return make_phantom(kind, size=size, seed=seed)


def node_names(kind: str) -> dict[str, str]:
    """Return role -> name of the nodes of a phantom pair."""
    names = {}
    for side, text in (("fixed", _("Phantom {kind} fixed")), ("moving", _("Phantom {kind} moving"))):
        names[side] = text.format(kind=kind)
        names[f"{side}_labels"] = _("{name} segmentation").format(name=names[side])
        names[f"{side}_points"] = _("{name} landmarks").format(name=names[side])
    return names


def add_phantom(phantom: Phantom) -> PhantomNodes:
    """Add a phantom pair to the scene; main thread only.

    Segmentations are hidden; landmarks are small, shown only in slices, in the colors of the contours (amber fixed,
    cyan moving).
    """
    pair, names = phantom.pair, node_names(phantom.kind)
    fixed, moving = (add_volume(getattr(pair, side), names[side]) for side in ("fixed", "moving"))
    labels, points = [], []
    for side, volume, color in (("fixed", fixed, FIXED_OUTLINE), ("moving", moving, WARPED_OUTLINE)):
        drawn, placed = (_given(getattr(pair, f"{side}_{what}")) for what in ("labels", "points"))
        labels.append(add_labels(drawn, names[f"{side}_labels"], reference=volume))
        points.append(add_points(placed, names[f"{side}_points"]))
        labels[-1].GetDisplayNode().SetVisibility(False)
        _show_small(points[-1].GetDisplayNode(), color)
    return PhantomNodes(fixed, moving, *labels, *points)


def _show_small(display: Any, color: tuple[float, float, float]) -> None:
    """Show landmarks as small colored crosses in the slices that contain them."""
    display.SetGlyphType(display.Cross2D)
    display.SetGlyphScale(2.0)  # percent of the view
    display.SetColor(*color)
    display.SetSelectedColor(*color)
    display.SetVisibility3D(False)


def load_phantom_pair(kind: str = "head", *, size: int = 96, seed: int = 0) -> PhantomNodes:
    """Generate a phantom pair and add it to the scene (volumes, segmentations with names, landmarks)."""
    return add_phantom(generate_phantom(kind, size=size, seed=seed))


def register_sample_data(thumbnail: str = "") -> bool:
    """Add the phantom pairs to the Sample Data module; called at startup.

    The buttons of the module and `SampleData.downloadSamples("DeepVsClassicRegPhantom")` generate them.

    Parameters
    ----------
    thumbnail : str, optional
        Picture of the buttons.

    Returns
    -------
    bool
        Whether the Sample Data module exists.
    """
    try:
        from SampleData import SampleDataLogic
    except ImportError:
        return False
    from .generated_sample import GeneratedSample

    offered = SampleDataLogic.sampleDataSourcesByCategory().setdefault(CATEGORY, [])
    for name, kind in SAMPLES.items():
        sample = GeneratedSample(name, node_names(kind), partial(_pair, kind), partial(_on_button, kind), thumbnail)
        if sample not in offered:
            offered.append(sample)
    return True


def _pair(kind: str) -> Pair:
    return generate_phantom(kind).pair


def _on_button(kind: str, _source: Any) -> list[Any]:
    """Generate a pair; the button of the Sample Data module calls this instead of downloading."""
    nodes = load_phantom_pair(kind)
    return [nodes.fixed, nodes.moving]


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("A phantom without labels or landmarks cannot be shown.")
    return value
