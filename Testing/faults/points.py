"""Landmark files: status, units, coordinate systems and names of every format Slicer writes; errors name the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.images.points import read_landmarks

from . import Call, Case, Gives, Refused, Run

XYZ = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def text(name: str, content: str, *, prefix: str = "") -> Callable[[Path], Call]:
    """Return a build function that writes a text and reads landmarks from it."""

    def build(folder: Path) -> Call:
        (folder / name).write_text(content, encoding="utf-8")
        return lambda: read_landmarks(folder / name, prefix=prefix)

    return build


def markups(points: Sequence[Any], *, name: str = "p.mrk.json", **more: Any) -> Callable[[Path], Call]:
    """Return a build function that writes a point list as Slicer does."""
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", **more, "controlPoints": points}
    return text(name, json.dumps({"@schema": "markups-schema-v1.0.4", "markups": [markup]}))


def point(label: str, position: Any, status: str = "defined", **more: Any) -> dict[str, Any]:
    """Return a control point as Slicer writes it."""
    turned = [-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0]
    return {"id": "1", "label": label, "position": position, "orientation": turned, "positionStatus": status, **more}


def placed(run: Run) -> Any:
    """Return the placed points."""
    return run.value.points_mm


def gives(truth: Any, *, notes: Sequence[str] = (), silent: Sequence[str] = ()) -> Gives:
    """Expect these points in LPS mm."""
    return Gives(np.asarray(truth, dtype=float), 1e-9, placed, notes, silent)


TWO = [point("nose", XYZ[0]), point("chin", XYZ[1])]
MARKUPS_CASES = [
    Case("E", ".mrk.json, LPS", markups(TWO), gives(XYZ)),
    Case("E", ".mrk.json, RAS", markups(TWO, coordinateSystem="RAS"), gives([[-1, -2, 3], [-4, -5, 6]])),
    Case("E", ".mrk.json, system 0 (RAS)", markups(TWO, coordinateSystem="0"), gives([[-1, -2, 3], [-4, -5, 6]])),
    Case("E", ".mrk.json, system 1 (LPS) as a number", markups(TWO, coordinateSystem=1), gives(XYZ)),
    Case("E", ".mrk.json, voxels", markups(TWO, coordinateSystem="IJK"), Refused(FileError, "voxel coordinates")),
    Case(
        "E",
        ".mrk.json, another system",
        markups(TWO, coordinateSystem="LAS"),
        Refused(FileError, "'LAS'", "LPS or RAS"),
    ),
    Case(
        "E", ".mrk.json in cm", markups(TWO, coordinateUnits="cm"), gives(np.array(XYZ) * 10, notes=["cm", "converted"])
    ),
    Case(
        "E",
        ".mrk.json in um, RAS",
        markups(TWO, coordinateUnits="um", coordinateSystem="RAS"),
        gives([[-0.001, -0.002, 0.003], [-0.004, -0.005, 0.006]], notes=["um", "converted"]),
    ),
    Case("E", ".mrk.json in m", markups(TWO, coordinateUnits="m"), gives(np.array(XYZ) * 1000, notes=["converted"])),
    Case("E", ".mrk.json in inches", markups(TWO, coordinateUnits="inch"), Refused(FileError, "'inch'", "mm, ")),
    Case(
        "E",
        "undefined point (Slicer writes an empty string)",
        markups([point("gone", "", "undefined"), *TWO]),
        gives(XYZ, notes=["1 of 3", "undefined", "gone"]),
    ),
    Case(
        "E",
        "missing point with an old position",
        markups([*TWO, point("lost", [9, 9, 9], "missing")]),
        gives(XYZ, notes=["missing", "lost"]),
    ),
    Case(
        "E",
        "preview point",
        markups([*TWO, point("mouse", [9, 9, 9], "preview")]),
        gives(XYZ, notes=["preview", "mouse"]),
    ),
    Case("E", "hidden point", markups([TWO[0], {**TWO[1], "visibility": False}]), gives(XYZ, notes=["hidden", "chin"])),
    Case(
        "E",
        "NaN position",
        markups([*TWO, point("bad", [float("nan"), 1, 2])]),
        gives(XYZ, notes=["not finite", "bad"]),
    ),
    Case(
        "E",
        "infinite position",
        markups([*TWO, point("far", [float("inf"), 1, 2])]),
        gives(XYZ, notes=["not finite", "far"]),
    ),
    Case(
        "E",
        "position of two numbers",
        markups([point("flat", [1, 2])]),
        Refused(FileError, "control point 1", "three numbers"),
    ),
    Case("E", "position as text", markups([point("words", ["a", 2, 3])]), Refused(FileError, "number 1", "'a'")),
    Case(
        "E",
        "defined point without position",
        markups([{"label": "x", "positionStatus": "defined"}]),
        Refused(FileError, "control point 1"),
    ),
    Case(
        "E",
        "no point placed",
        markups([point("gone", "", "undefined")]),
        Refused(FileError, "none of its 1 landmarks is placed"),
    ),
    Case("E", "empty list", markups([]), Refused(FileError, "no landmarks")),
    Case("E", "a plane", markups(TWO, type="Plane"), Refused(FileError, "type Plane")),
    Case("E", "a region of interest", markups(TWO, type="ROI"), Refused(FileError, "type ROI")),
    Case("E", "a curve", markups(TWO, type="Curve"), gives(XYZ, notes=["Curve"])),
    Case(
        "E",
        "two lists in one file",
        text("p.mrk.json", json.dumps({"markups": [{}, {}]})),
        Refused(FileError, "2 lists"),
    ),
    Case("E", "broken JSON", text("p.mrk.json", '{"markups": [\n{"type": '), Refused(FileError, "line 2", "json")),
    Case("E", "another JSON", text("p.json", '{"points": []}'), Refused(FileError, "no markups")),
    Case("E", "triples", text("p.json", json.dumps(XYZ)), gives(XYZ)),
    Case(
        "E",
        "triples the other way round",
        text("p.json", "[[1, 4, 7, 9], [2, 5, 8, 9], [3, 6, 9, 9]]"),
        Refused(FileError, "entry 1", "transpose"),
    ),
    Case(
        "E",
        "pairs instead of triples",
        text("p.json", "[[1, 2], [3, 4]]"),
        Refused(FileError, "entry 1", "three numbers"),
    ),
    Case(
        "E",
        "null inside a triple",
        text("p.json", "[[1, 2, 3], [4, null, 6]]"),
        gives(XYZ[:1], notes=["not finite", "entry 2"]),
    ),
]

HEAD = (
    "# Markups fiducial file version = {version}\n# CoordinateSystem = {system}\n"
    "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
)
ROWS = "1,1,2,3,0,0,0,1,1,1,0,nose,,{tail}\n2,4,5,6,0,0,0,1,1,1,0,chin,,{tail}\n"
RAS = [[-1, -2, 3], [-4, -5, 6]]


def fcsv(
    system: str, *, version: str = "5.12", tail: str = ",2,0", extra: str = "", name: str = "p.fcsv"
) -> Callable[[Path], Call]:
    """Return a build function for a .fcsv of Slicer."""
    return text(name, HEAD.format(version=version, system=system) + ROWS.format(tail=tail) + extra)


FCSV_CASES = [
    Case("E", ".fcsv of Slicer 5, LPS", fcsv("LPS"), gives(XYZ)),
    Case("E", ".fcsv, RAS", fcsv("RAS"), gives(RAS)),
    Case("E", ".fcsv of Slicer 4.10, system 0 (RAS)", fcsv("0", version="4.10", tail=""), gives(RAS)),
    Case("E", ".fcsv, system 1 (LPS)", fcsv("1", version="4.11", tail=""), gives(XYZ)),
    Case("E", ".fcsv, system 2 (voxels)", fcsv("2", version="4.10", tail=""), Refused(FileError, "voxel coordinates")),
    Case(
        "E",
        ".fcsv of Slicer 3 (label first, no system)",
        text("p.fcsv", "# numPoints = 2\n# columns = label,x,y,z,sel,vis\nnose,1,2,3,1,1\nchin,4,5,6,1,0\n"),
        gives(RAS, notes=["hidden", "chin"]),
    ),
    Case("E", ".fcsv without any header", text("p.fcsv", ROWS.format(tail="")), gives(RAS)),
    Case("E", ".fcsv content under the ending .csv", fcsv("LPS", name="p.csv"), gives(XYZ)),
    Case(
        "E",
        ".fcsv, undefined point",
        fcsv("LPS", extra="3,9,9,9,0,0,0,1,1,1,0,gone,,,0,0\n"),
        gives(XYZ, notes=["undefined", "gone"]),
    ),
    Case(
        "E",
        ".fcsv, missing point",
        fcsv("LPS", extra="3,9,9,9,0,0,0,1,1,1,0,lost,,,3,0\n"),
        gives(XYZ, notes=["missing", "lost"]),
    ),
    Case(
        "E",
        ".fcsv, preview point",
        fcsv("LPS", extra="3,9,9,9,0,0,0,1,1,1,0,mouse,,,1,0\n"),
        gives(XYZ, notes=["preview", "mouse"]),
    ),
    Case(
        "E",
        ".fcsv, hidden point",
        fcsv("LPS", extra="3,7,8,9,0,0,0,1,0,1,0,dark,,,2,0\n"),
        gives([*XYZ, [7, 8, 9]], notes=["hidden", "dark"]),
    ),
    Case(
        "E",
        ".fcsv, label with comma and quotes",
        fcsv("LPS", extra='3,7,8,9,0,0,0,1,1,1,0,"a, ""b""",,,2,0\n'),
        gives([*XYZ, [7, 8, 9]]),
    ),
    Case(
        "E",
        ".fcsv, nan",
        fcsv("LPS", extra="3,nan,8,9,0,0,0,1,1,1,0,bad,,,2,0\n"),
        gives(XYZ, notes=["not finite", "bad"]),
    ),
    Case(
        "E",
        ".fcsv, a word for a number",
        fcsv("LPS", extra="3,left,8,9,0,0,0,1,1,1,0,bad,,,2,0\n"),
        Refused(FileError, "line 6", "'left'"),
    ),
    Case("E", ".fcsv, short row", fcsv("LPS", extra="3,7\n"), Refused(FileError, "line 6", "2 values")),
    Case(
        "E",
        ".fcsv, no rows",
        text("p.fcsv", HEAD.format(version="5", system="LPS")),
        Refused(FileError, "no landmarks"),
    ),
]


def _latin(folder: Path) -> Call:
    (folder / "p.csv").write_bytes("name,x,y,z\nGrösse,1,2,3\n".encode("latin-1"))
    return lambda: read_landmarks(folder / "p.csv")


TABLE = "label,{},defined,selected,visible,locked,description\n"
BOTH = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n1,2,3,4,5,6\n"
PLAIN = "name,x,y,z\nnose,1,2,3\nchin,4,5,6\n"
CSV_CASES = [
    Case("E", ".csv", text("p.csv", PLAIN), gives(XYZ)),
    Case("E", ".csv with a byte order mark", text("p.csv", "\ufeff" + PLAIN), gives(XYZ)),
    Case(
        "E", ".csv with capitals and blanks", text("p.csv", "Name, X, Y, Z\nnose, 1, 2, 3\nchin, 4, 5, 6\n"), gives(XYZ)
    ),
    Case("E", ".csv with other columns", text("p.csv", "z,group,y,x\n3,a,2,1\n6,b,5,4\n"), gives(XYZ)),
    Case("E", ".csv with Windows line ends", text("p.csv", PLAIN.replace("\n", "\r\n")), gives(XYZ)),
    Case(
        "E",
        ".csv table of Slicer, r,a,s",
        text("p.csv", TABLE.format("r,a,s") + "nose,1,2,3,1,1,1,0,\nchin,4,5,6,1,1,1,0,\n"),
        gives(RAS),
    ),
    Case(
        "E",
        ".csv table of Slicer, l,p,s, undefined",
        text("p.csv", TABLE.format("l,p,s") + "nose,1,2,3,1,1,1,0,\nchin,4,5,6,0,1,1,0,\n"),
        gives(XYZ[:1], notes=["undefined", "chin"]),
    ),
    Case(
        "E", ".csv with semicolons", text("p.csv", PLAIN.replace(",", ";")), Refused(FileError, "line 1", "semicolons")
    ),
    Case("E", ".csv with tabs", text("p.csv", PLAIN.replace(",", "\t")), Refused(FileError, "line 1", "tabs")),
    Case(
        "E",
        ".csv with semicolons and decimal commas",
        text("p.csv", "name;x;y;z\nnose;1,5;2,5;3,5\n"),
        Refused(FileError, "semicolons", "points"),
    ),
    Case(
        "E",
        ".csv with decimal commas",
        text("p.csv", "name,x,y,z\nnose,1,5,2,5,3,5\n"),
        Refused(FileError, "line 2", "7 values", "decimals need a point"),
    ),
    Case(
        "E",
        ".csv with quoted decimal commas",
        text("p.csv", 'name,x,y,z\nnose,"1,5","2,5","3,5"\n'),
        Refused(FileError, "line 2", "'1,5'", "point"),
    ),
    Case("E", ".csv without header", text("p.csv", "1,2,3\n4,5,6\n"), Refused(FileError, "line 1", "columns x, y, z")),
    Case("E", ".csv with i,j,k", text("p.csv", "i,j,k\n1,2,3\n"), Refused(FileError, "line 1", "'i,j,k'")),
    Case("E", ".csv with both sides, one asked", text("p.csv", BOTH), Refused(FileError, "both sides")),
    Case("E", ".csv with both sides, prefix", text("p.csv", BOTH, prefix="moving_"), gives(XYZ[1:])),
    Case("E", ".csv with an empty cell", text("p.csv", PLAIN + "gone,,,\n"), gives(XYZ, notes=["not finite", "gone"])),
    Case(
        "E",
        ".csv with a word",
        text("p.csv", PLAIN + "ear,7,here,9\n"),
        Refused(FileError, "line 4", "'here'", "three numbers"),
    ),
    Case("E", ".csv with a short row", text("p.csv", PLAIN + "ear,7\n"), Refused(FileError, "line 4", "2 values")),
    Case(
        "E",
        ".csv with comments and empty lines",
        text("p.csv", "# by hand\n\n" + PLAIN + "\n# end\near,seven,8,9\n"),
        Refused(FileError, "line 8", "'seven'"),
    ),
    Case("E", ".csv with a header only", text("p.csv", "name,x,y,z\n"), Refused(FileError, "no landmarks")),
    Case("E", ".csv in Latin 1", _latin, Refused(FileError, "UTF-8")),
    Case("E", "empty .csv", text("p.csv", ""), Refused(FileError, "no landmarks")),
    Case("E", "points of elastix", text("p.pts", "point\n1\n1 2 3\n"), Refused(FileError, "must be", ".mrk.json")),
]


CASES = [*MARKUPS_CASES, *FCSV_CASES, *CSV_CASES]
