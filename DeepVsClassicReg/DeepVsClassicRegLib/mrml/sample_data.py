"""The phantom pair in Slicer's sample data: generated on this computer, nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from ..core.evaluation.colors import FIXED_OUTLINE, WARPED_OUTLINE
from .nodes import add_labels, add_points, add_volume

if TYPE_CHECKING:
    from ..core.phantom.phantom import Phantom

CATEGORY = "Registration"
SAMPLE_NAME = "DeepVsClassicRegPhantom"


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


def add_phantom(phantom: Phantom) -> PhantomNodes:
    """Add a phantom pair to the scene; main thread only.

    Segmentations are hidden; landmarks are small, shown only in slices, in the colors of the contours (amber fixed,
    cyan moving).
    """
    pair = phantom.pair
    fixed = add_volume(pair.fixed, _("Phantom {kind} fixed").format(kind=phantom.kind))
    moving = add_volume(pair.moving, _("Phantom {kind} moving").format(kind=phantom.kind))
    labels, points = [], []
    for volume, drawn, placed, color in (
        (fixed, pair.fixed_labels, pair.fixed_points, FIXED_OUTLINE),
        (moving, pair.moving_labels, pair.moving_points, WARPED_OUTLINE),
    ):
        labels.append(
            add_labels(_given(drawn), _("{name} segmentation").format(name=volume.GetName()), reference=volume)
        )
        points.append(add_points(_given(placed), _("{name} landmarks").format(name=volume.GetName())))
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
    """Add the phantom pair to the Sample Data module; called at startup.

    Only the module's button works: `SampleData.downloadSample` always downloads, use `load_phantom_pair` instead.

    Parameters
    ----------
    thumbnail : str, optional
        Picture of the button.

    Returns
    -------
    bool
        Whether the Sample Data module exists.
    """
    try:
        import SampleData
    except ImportError:
        return False
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=["dvcreg://phantom/head"],
        fileNames=["phantom.nrrd"],
        nodeNames=["Phantom head fixed"],
        thumbnailFileName=thumbnail or None,
        customDownloader=_downloader,
    )
    return True


def _downloader(_source: Any) -> list[Any]:
    """Generate the pair; the button of the Sample Data module calls this instead of downloading."""
    nodes = load_phantom_pair()
    return [nodes.fixed, nodes.moving]


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("A phantom without labels or landmarks cannot be shown.")
    return value
