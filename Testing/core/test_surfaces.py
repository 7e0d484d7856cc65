"""Surface files: coordinates, statement of the coordinate system, what is kept, and errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.images.surfaces import ENDINGS, read_surface, write_surface

vtk = pytest.importorskip("vtk")

# A tetrahedron; the STL format stores triangles, so each vertex appears in it several times.
CORNERS = np.array([[10.0, 20, 30], [14, 20, 30], [10, 26, 30], [10, 20, 38]])
SHIFT = np.array([1, 2, 3])


@pytest.fixture
def mesh():
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for corner in CORNERS:
        points.InsertNextPoint(corner)
    for triangle in ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)):
        cells.InsertNextCell(3, triangle)
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    values = vtk.vtkFloatArray()
    values.SetName("Thickness")
    for value in (1, 2, 3, 4):
        values.InsertNextValue(value)
    data.GetPointData().AddArray(values)
    return data


def plain(mesh, path):
    """Write a mesh as other programs do: without a statement of its coordinate system."""
    writers = {
        ".vtk": vtk.vtkPolyDataWriter,
        ".vtp": vtk.vtkXMLPolyDataWriter,
        ".ply": vtk.vtkPLYWriter,
        ".stl": vtk.vtkSTLWriter,
        ".obj": vtk.vtkOBJWriter,
    }
    writer = writers[path.suffix]()
    writer.SetInputData(mesh)
    writer.SetFileName(str(path))
    assert writer.Write()
    return path


def corners(points):
    return np.unique(np.round(points, 3), axis=0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_vertices_are_moved_and_the_system_is_stated(mesh, tmp_path, ending):
    surface = read_surface(plain(mesh, tmp_path / f"plain{ending}"))
    assert surface.system == "LPS" and "LPS is assumed" in surface.notes[0]
    assert np.allclose(corners(surface.points_mm), corners(CORNERS))
    path = write_surface(surface.moved(surface.points_mm + SHIFT), tmp_path / f"moved{ending}")
    again = read_surface(path)
    assert again.notes == () and np.allclose(corners(again.points_mm), corners(CORNERS + SHIFT))
    assert again.mesh.GetNumberOfCells() == 4
    assert np.allclose(corners(read_surface(tmp_path / f"plain{ending}").points_mm), corners(CORNERS))


@pytest.mark.parametrize("ending", [".stl", ".ply", ".obj"])
def test_ras_is_obeyed_where_the_file_states_it(mesh, tmp_path, ending):
    stated = write_surface(read_surface(plain(mesh, tmp_path / f"a{ending}")), tmp_path / f"b{ending}")
    stated.write_bytes(stated.read_bytes().replace(b"SPACE=LPS", b"SPACE=RAS"))
    surface = read_surface(stated)
    assert surface.system == "RAS"
    assert np.allclose(corners(surface.points_mm), corners(CORNERS * [-1, -1, 1]))


def test_ras_of_a_vtp_is_a_field(mesh, tmp_path):
    field = vtk.vtkStringArray()
    field.SetName("SPACE")
    field.InsertNextValue("RAS")
    mesh.GetFieldData().AddArray(field)
    surface = read_surface(plain(mesh, tmp_path / "ras.vtp"))
    assert surface.system == "RAS" and np.allclose(surface.points_mm, CORNERS * [-1, -1, 1])
    again = read_surface(write_surface(surface, tmp_path / "lps.vtp"))
    assert again.system == "LPS" and np.allclose(again.points_mm, CORNERS * [-1, -1, 1])


def test_data_of_vertices_stay_and_normals_turn(mesh, tmp_path):
    normals = vtk.vtkPolyDataNormals()
    normals.SplittingOff()
    normals.SetInputData(mesh)
    normals.Update()
    surface = read_surface(plain(normals.GetOutput(), tmp_path / "n.vtp"))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    again = read_surface(write_surface(surface.moved(surface.points_mm @ turn.T), tmp_path / "t.vtp"))
    data = again.mesh.GetPointData()
    assert [data.GetArray("Thickness").GetValue(n) for n in range(4)] == [1, 2, 3, 4]
    before = np.array([surface.mesh.GetPointData().GetNormals().GetTuple(n) for n in range(4)])
    after = np.array([data.GetNormals().GetTuple(n) for n in range(4)])
    assert np.allclose(after, before @ turn.T, atol=1e-5)


def test_errors(mesh, tmp_path, monkeypatch):
    with pytest.raises(FileError, match="No such surface"):
        read_surface(tmp_path / "absent.stl")
    (tmp_path / "bad.vtp").write_text("nonsense")
    with pytest.raises(FileError, match="damaged or not a file"):
        read_surface(tmp_path / "bad.vtp")
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(FileError, match="no vertices"):
        read_surface(tmp_path / "empty.obj")
    path = plain(mesh, tmp_path / "a.vtp")
    with pytest.raises(FileError, match="surfaces must be"):
        write_surface(read_surface(path), tmp_path / "a.off")
    monkeypatch.setitem(sys.modules, "vtkmodules.vtkIOGeometry", None)
    with pytest.raises(FileError, match="pip install vtk"):
        read_surface(path)
