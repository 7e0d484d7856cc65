"""NiftyReg's adapter against stand-ins of its programs that check their arguments and write a known field."""

from __future__ import annotations

import os
import sys
import textwrap

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.external.niftyreg import NiftyRegEngine, NiftyRegSettings
from DeepVsClassicRegLib.core.errors import EngineFailed
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from testing_grids import oblique_grid

FIXED, MOVING = oblique_grid(seed=3), oblique_grid((20, 18, 22), seed=4, left_handed=False)
SHIFT_RAS = (1.0, 2.0, 3.0)
REG_F3D = """
import sys
from pathlib import Path
Path("arguments.txt").write_text(" ".join(sys.argv[1:]))
Path({record!r}).write_text(" ".join(sys.argv[1:]) + "\\n" + (Path("start.txt").read_text(encoding="utf-8")
    if Path("start.txt").is_file() else ""))
assert Path("fixed.nii").is_file() and Path("moving.nii").is_file()
for level in (1, 2, 3):
    print(f"[NiftyReg F3D] Current level: {{level}} / 3")
    for i in (1, 50, 150):
        print(f"[NiftyReg F3D] [{{i}}] Current objective function: {{1 + i / 1000}} = (wSIM)1.2 - (wBE)1.00e-03")
Path("spline.nii").write_bytes(b"spline")
sys.exit({status})
"""
REG_TRANSFORM = """
import struct, sys
import numpy as np
from pathlib import Path
assert sys.argv[1:] == ["-ref", "fixed.nii", "-disp", "spline.nii", "field.nii"], sys.argv
size = struct.unpack_from("<8h", Path("fixed.nii").read_bytes(), 40)[1:4]
header = bytearray(352)
struct.pack_into("<i", header, 0, 348)
struct.pack_into("<8h", header, 40, 5, *size, 1, 3, 1, 1)
struct.pack_into("<h", header, 70, 16)
struct.pack_into("<f", header, 108, 352.0)
field = np.empty((3, *size[::-1]), "<f4")
field[:] = np.array({shift!r}).reshape(3, 1, 1, 1)
Path("field.nii").write_bytes(bytes(header) + field.tobytes())
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    if os.name == "nt":
        pytest.skip("the stand-ins are scripts with a first line for POSIX")
    record = tmp_path / "record.txt"

    def install(status: int = 0):
        texts = {
            "reg_f3d": REG_F3D.format(record=str(record), status=status),
            "reg_transform": REG_TRANSFORM.format(shift=SHIFT_RAS),
        }
        for name, text in texts.items():
            path = tmp_path / name
            path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return record

    return install


def pair(**more) -> Pair:
    rng = np.random.default_rng(0)
    return Pair(Volume(rng.random(FIXED.shape), FIXED), Volume(rng.random(MOVING.shape), MOVING), **more)


def test_field_in_ras_becomes_the_complete_map_in_lps(programs):
    record = programs()
    start = Affine.about(np.diag([1.1, 0.9, 1.0]), (1, 2, 3), (4, 5, 6))
    mask = LabelMap(np.ones(FIXED.shape, int), FIXED)
    updates = []
    result = NiftyRegEngine().run(
        pair(initial=Transform((start,)), fixed_mask=mask),
        NiftyRegSettings(),
        Progress(listener=updates.append),
        Compute(threads=2),
    )
    points = FIXED.index_to_point([[5, 6, 7], [10, 3, 2]])
    # The programs get all lengths divided by the unit of the fixed grid, and so does the field they write.
    unit = FIXED.unit_mm
    np.testing.assert_allclose(result.transform.apply(points) - points, unit * np.array([[-1, -2, 3]] * 2), atol=1e-4)
    arguments, matrix = record.read_text(encoding="utf-8").split("\n", 1)
    assert "--nmi -sx -5 -be 0.001 -le 0.01 -ln 3 -maxit 150 -omp 2" in arguments
    assert "-aff start.txt" in arguments
    assert "-rmask rmask.nii" in arguments
    flip = np.diag([-1, -1, 1, 1])
    given = Affine(start.matrix, (start.translation_mm / unit).round(3))
    np.testing.assert_allclose(np.loadtxt(matrix.splitlines()), flip @ given.homogeneous @ flip, atol=1e-9)
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert result.diagnostics.trace[0].metric == pytest.approx(-1.001)
    assert result.diagnostics.trace[-1].stage == "NiftyReg, level 3 of 3"


def test_a_failing_program_is_a_readable_error(programs):
    programs(status=5)
    with pytest.raises(EngineFailed, match="reg_f3d stopped with status 5"):
        NiftyRegEngine().run(pair(), NiftyRegSettings(), Progress(), Compute(threads=1))
