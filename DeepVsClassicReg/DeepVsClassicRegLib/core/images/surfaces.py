"""Files of surfaces and meshes: vertices in LPS mm; everything else in the file is kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from ..files import write_text
from .raw import Pathlike

Array = npt.NDArray[np.float64]
ENDINGS = (".vtk", ".vtp", ".ply", ".stl", ".obj")
SPACE = "SPACE"
LPS, RAS = "LPS", "RAS"
STATEMENT = f"3D Slicer output. {SPACE}={LPS}"
FLIP = np.array([-1.0, -1.0, 1.0])
HEAD_BYTES = 2048
NORMALS = "Normals"


@dataclass(frozen=True, eq=False)
class Surface:
    """The mesh of a file.

    Parameters
    ----------
    points_mm : (N, 3) array
        Vertices, LPS mm.
    mesh : vtkPointSet
        The mesh as it was read; its points are replaced when it is written.
    system : {'LPS', 'RAS'}
        Coordinate system of the file.
    notes : tuple of str
        Notes for the user: which coordinate system was assumed.
    """

    points_mm: Array
    mesh: Any
    system: str = LPS
    notes: tuple[str, ...] = ()

    def moved(self, points_mm: npt.ArrayLike) -> Surface:
        """Return the mesh with other vertices, LPS mm; their number stays."""
        points = np.asarray(points_mm, dtype=float)
        if points.shape != self.points_mm.shape:
            raise ValueError(f"A surface of {len(self.points_mm)} vertices cannot take {len(points)}.")
        return replace(self, points_mm=points)


def read_surface(path: Pathlike) -> Surface:
    """Read a surface or mesh.

    Parameters
    ----------
    path : path
        `.vtk` (legacy), `.vtp`, `.ply`, `.stl` or `.obj`. Slicer states the coordinate system in the file (SPACE=LPS
        or SPACE=RAS). Without this statement LPS is assumed, as Slicer does since version 4.11, and a note says so.

    Raises
    ------
    FileError
        When the file is missing, damaged, without vertices, or of another format, or the package vtk is missing.
    """
    source = Path(path)
    if not source.is_file():
        raise FileError(f"No such surface file: {source}.", hint="Check the path.")
    kind = _ending(source)
    mesh = _read(source, kind)
    if mesh is None or not hasattr(mesh, "GetPoints") or not mesh.GetNumberOfPoints():
        raise FileError(f"{source.name} contains no vertices.", hint="Save the surface again.")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    points = np.array(vtk_to_numpy(mesh.GetPoints().GetData()), dtype=np.float64)
    if not np.isfinite(points).all():
        raise FileError(f"{source.name} contains vertices that are not finite.", hint="Save the surface again.")
    system, notes = _system(source, mesh)
    return Surface(points if system == LPS else points * FLIP, mesh, system, notes)


def write_surface(surface: Surface, path: Pathlike) -> Path:
    """Write a surface in LPS with this statement in the file, as Slicer does; normals follow the vertices.

    Raises
    ------
    FileError
        When the ending is unknown, the format cannot hold the mesh, or the file cannot be written.
    """
    target = Path(path)
    kind = _ending(target)
    mesh = with_points(surface.mesh, surface.points_mm)
    if kind != ".vtk" and not mesh.IsA("vtkPolyData"):
        raise FileError(f"{target.name}: {kind} holds surfaces only, this is a volume mesh.", hint="Use .vtk.")
    _state_system(mesh)
    writer = _writer(kind)
    writer.SetInputData(mesh)
    writer.SetFileName(str(target))
    if not writer.Write() or not target.is_file():
        raise FileError(f"Could not write {target}.", hint="Check the folder and the free space.")
    if kind == ".obj":
        write_text(target, f"# {STATEMENT}\n{target.read_text(encoding='utf-8')}")
    return target


def with_points(mesh: Any, points: npt.ArrayLike) -> Any:
    """Return a copy of a VTK point set with other points; normals are computed again if it has some."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import VTK_DOUBLE, vtkPoints

    copy = mesh.NewInstance()
    copy.DeepCopy(mesh)
    is_double = mesh.GetPoints().GetDataType() == VTK_DOUBLE
    array = np.ascontiguousarray(points, dtype=np.float64 if is_double else np.float32)
    replaced = vtkPoints()
    replaced.SetData(numpy_to_vtk(array, deep=True))
    copy.SetPoints(replaced)
    data = copy.GetPointData()
    normals = data.GetNormals()
    if normals is None or not copy.IsA("vtkPolyData"):
        return copy
    return _with_normals(copy, normals.GetName() or NORMALS)


def _with_normals(mesh: Any, name: str) -> Any:
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    # The filter keeps normals that exist.
    mesh.GetPointData().SetNormals(None)
    # Neither splits edges nor reverses polygons: the vertices keep their order and number.
    normals = vtkPolyDataNormals()
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.SetInputData(mesh)
    normals.Update()
    result = mesh.NewInstance()
    result.DeepCopy(mesh)
    computed = normals.GetOutput().GetPointData().GetNormals()
    if computed is not None and computed.GetNumberOfTuples() == mesh.GetNumberOfPoints():
        computed.SetName(name)
        result.GetPointData().SetNormals(computed)
    return result


def _read(path: Path, kind: str) -> Any:
    reader = _readers()[kind]()
    complaints: list[str] = []
    reader.AddObserver("ErrorEvent", lambda _reader, _event: complaints.append("error"))
    reader.SetFileName(str(path))
    reader.Update()
    if complaints or reader.GetErrorCode():
        raise FileError(f"{path.name} is damaged or not a file of the kind {kind}.", hint="Save the surface again.")
    return reader.GetOutput()


def _readers() -> dict[str, Callable[[], Any]]:
    try:
        from vtkmodules.vtkIOGeometry import vtkOBJReader, vtkSTLReader
        from vtkmodules.vtkIOLegacy import vtkGenericDataObjectReader
        from vtkmodules.vtkIOPLY import vtkPLYReader
        from vtkmodules.vtkIOXML import vtkXMLPolyDataReader
    except ImportError as error:
        raise FileError("Surfaces need the package vtk, which is not installed.", hint="pip install vtk") from error
    return {
        ".vtk": vtkGenericDataObjectReader,
        ".vtp": vtkXMLPolyDataReader,
        ".ply": vtkPLYReader,
        ".stl": vtkSTLReader,
        ".obj": vtkOBJReader,
    }


def _writer(kind: str) -> Any:
    from vtkmodules.vtkIOGeometry import vtkOBJWriter, vtkSTLWriter
    from vtkmodules.vtkIOLegacy import vtkGenericDataObjectWriter
    from vtkmodules.vtkIOPLY import vtkPLYWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    if kind == ".vtp":
        return vtkXMLPolyDataWriter()  # the statement is a field of the mesh
    if kind == ".ply":
        ply = vtkPLYWriter()
        ply.AddComment(f"{SPACE}={LPS}")
        return ply
    if kind == ".obj":
        return vtkOBJWriter()  # the statement is added to its text
    writer: Any = {".vtk": vtkGenericDataObjectWriter, ".stl": vtkSTLWriter}[kind]()
    writer.SetHeader(STATEMENT)
    writer.SetFileTypeToBinary()
    return writer


def _state_system(mesh: Any) -> None:
    from vtkmodules.vtkCommonCore import vtkStringArray

    field = vtkStringArray()
    field.SetName(SPACE)
    field.InsertNextValue(LPS)
    mesh.GetFieldData().RemoveArray(SPACE)
    mesh.GetFieldData().AddArray(field)


def _system(path: Path, mesh: Any) -> tuple[str, tuple[str, ...]]:
    """Return the coordinate system that the file states, or LPS with a note."""
    field = mesh.GetFieldData().GetAbstractArray(SPACE)
    stated = str(field.GetValue(0)) if field is not None and field.GetNumberOfValues() else ""
    if not stated:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("latin-1")
        found = re.search(rf"{SPACE}=(\w+)", head)
        stated = found.group(1) if found else ""
    if stated in (LPS, RAS):
        return stated, ()
    if stated:
        raise FileError(f"{path.name} gives positions in '{stated}'.", hint="Save them in LPS or RAS.")
    return LPS, (f"{path.name} does not state its coordinate system; LPS is assumed, as in Slicer.",)


def _ending(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise FileError(f"{path.name}: surfaces must be {', '.join(ENDINGS)}.", hint="Save it in one of these formats.")
    return kind
