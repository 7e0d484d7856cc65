"""The library's fixed-to-moving map in a Slicer transform node, and back, without loss."""

from __future__ import annotations

import slicer

from ..core.images.grid import Grid
from ..core.transforms.transform import Transform


def set_transform(node: slicer.vtkMRMLTransformNode, transform: Transform, *, grid: Grid | None = None) -> None:
    """Put a map into a transform node, so that applying the node to the moving volume registers it.

    Parameters
    ----------
    node : vtkMRMLTransformNode
        A plain transform node; its former content is replaced, its parent is not.
    transform : Transform
        Fixed-to-moving map; becomes the node's transform from parent. Linear parts and fields stay
        apart, fields are interpolated linearly, and end in displacement 0 as in ITK.
    grid : Grid, optional
        The fixed volume's grid, where sampled B-splines are to be exact.
    """
    raise NotImplementedError


def transform_of(node: slicer.vtkMRMLTransformNode, grid: Grid) -> Transform:
    """Return the fixed-to-moving map of a node and of its parents.

    Parameters
    ----------
    node : vtkMRMLTransformNode
        Linear, grid, B-spline, thin plate and composite transforms, in either direction.
    grid : Grid
        Where the map is needed, usually the fixed volume's grid; what has no counterpart in the library
        (inverse fields, thin plates) is sampled on a grid over it.

    Raises
    ------
    RegistrationError
        When the node holds something that cannot be represented.
    """
    raise NotImplementedError
