"""Registration objects of DICOM for volumes that Slicer loaded from its DICOM database, and transform files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from .apply import reference_of
from .geometry import grid_of
from .inputs import INSTANCES
from .transforms import attach, flattened, resolved, vtk_of


def save_dicom(transform: Any, path: Path, *, fixed: Any = None, moving: Any = None) -> Any:
    """Write a transform node as Spatial Registration or Deformable Spatial Registration object.

    Parameters
    ----------
    transform : vtkMRMLTransformNode
        Applied to the moving volume, it aligns that volume with the fixed one.
    path : Path
        File to write.
    fixed, moving : vtkMRMLVolumeNode, optional
        Volumes loaded from DICOM, whose frames of reference are connected; default: the registered ones.

    Returns
    -------
    core.transforms.dicom_files.Written
        The kind of object and the difference when it is read back.

    Raises
    ------
    RegistrationError
        When a volume is unknown, was not loaded from DICOM, or was moved since.
    """
    from ..core.transforms.dicom_files import write_dicom_registration

    volumes = {"fixed": fixed, "moving": moving}
    for side in volumes:
        volumes[side] = volumes[side] or reference_of(transform, side)
        if volumes[side] is None:
            raise RegistrationError(_("The {side} volume is not known.").format(side=side), hint=_("Give it."))
    frames = {side: _frame(volume) for side, volume in volumes.items()}
    grid = grid_of(volumes["fixed"])
    return write_dicom_registration(resolved(flattened(transform), grid), path, **frames, grid=grid)


def load_transform(path: Path) -> Any:
    """Add a transform file to the scene, of any program that `read_transform` knows, DICOM registrations included.

    Returns
    -------
    vtkMRMLTransformNode
        Applied to the moving volume, it aligns that volume with the fixed one.
    """
    from ..core.transforms.files import read_transform

    mapping = vtk_of(read_transform(path))
    name = slicer.mrmlScene.GenerateUniqueName(path.name.partition(".")[0] or path.name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    attach(node, mapping)
    return node


def _frame(volume: Any) -> Any:
    from ..core.images.dicom_frame import frame_of_files

    name = volume.GetName()
    if volume.GetParentTransformNode() is not None:
        raise RegistrationError(
            _("'{name}' is under a transform, so it is not where its DICOM series is.").format(name=name),
            hint=_("Remove it from the transform and register again."),
        )
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in instances] if database is not None else []
    files = [Path(file) for file in files if file]
    if not files:
        raise RegistrationError(
            _("'{name}' was not loaded from Slicer's DICOM database.").format(name=name),
            hint=_("Load the series with the DICOM module: a registration object refers to its frame of reference."),
        )
    return frame_of_files(files, name=f"'{name}'")
