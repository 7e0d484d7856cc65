"""Our phantom pair among Slicer's sample data: generated on this machine, nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

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


def load_phantom_pair(kind: str = "head", *, size: int = 96, seed: int = 0) -> PhantomNodes:
    """Generate a phantom pair and add it to the scene (volumes, segmentations with names, landmarks)."""
    raise NotImplementedError


def register_sample_data(thumbnail: str = "") -> None:
    """Offer the phantom pair in the Sample Data module; call at startup, when that module is there."""
    raise NotImplementedError
