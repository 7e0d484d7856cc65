"""The base of engines that run another program: inputs, progress, metric trace, complaints; and the parsers of logs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.base import EngineInfo
from DeepVsClassicRegLib.core.engines.external import ants, convexadam, fireants, greedy, niftyreg
from DeepVsClassicRegLib.core.engines.external.base import Complaint, ExternalEngine, Step
from DeepVsClassicRegLib.core.engines.external.levels import usable_levels, work_done
from DeepVsClassicRegLib.core.engines.external.program import Output
from DeepVsClassicRegLib.core.errors import EngineFailed
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.transform import Affine

GRID = Grid((160, 160, 160))  # as large as a head, so that lengths are handed over as they are
SMALL = Grid((20, 20, 20), (8.0, 8.0, 8.0))
PROGRAM = """
import sys
from pathlib import Path
assert all(Path(name).is_file() for name in ("fixed.mha", "moving.mha", "mask.mha"))
for line in ("1 0.5", "noise", "2 nan", "3 0.25"):
    print(line)
Path("result.txt").write_text("4 5 6")
sys.exit({status})
"""


@dataclass(frozen=True)
class ShiftSettings:
    status: int = 0
    writes: str = "result.txt"


class ShiftEngine(ExternalEngine[ShiftSettings]):
    info = EngineInfo("shift", "Shift", "A shift.", "classical", ShiftSettings, "none")
    program = "Shifter"
    stop_condition = "three lines"
    complaints = (Complaint("no overlap", "the volumes do not overlap.", "Move them."),)

    def register(self, run):
        run.write_volumes()
        self.written = run.write_mask(run.start.fixed_mask, "mask.mha", np.float32)
        self.mask = sitk.ReadImage(str(run.folder / self.written))
        command = [sys.executable, "-c", PROGRAM.format(status=run.settings.status)]
        output = run.execute(command, self.parse)
        self.check_output(output, run.folder / run.settings.writes)
        shift = [float(number) for number in (run.folder / "result.txt").read_text(encoding="utf-8").split()]
        self.check_finite(shift, "Try again.")
        return [Affine.shift(shift)]

    @staticmethod
    def parse(line: str) -> Step | None:
        if line == "noise":
            return None
        number, metric = line.split()
        return Step("Shifting", int(number) / 4, int(number), float(metric), shown=number != "2")


def run(settings=None, progress=None):
    rng = np.random.default_rng(0)
    mask = np.zeros(SMALL.shape, int)
    mask[4:9] = 3
    pair = Pair(
        Volume(rng.random(SMALL.shape), SMALL),
        Volume(rng.random(SMALL.shape), SMALL),
        fixed_mask=LabelMap(mask, SMALL),
    )
    engine = ShiftEngine()
    return engine, engine.run(pair, settings or ShiftSettings(), progress or Progress(), Compute(threads=1))


def test_lines_become_progress_and_a_finite_trace_and_the_result_is_complete():
    updates = []
    engine, result = run(progress=Progress(listener=updates.append))
    assert [(u.stage, u.iteration) for u in updates[1:-1]] == [("Shifting", 1), ("Shifting", 3)]
    np.testing.assert_allclose([u.fraction for u in updates], [0, 0.26, 0.74, 1])
    assert [(point.iteration, point.metric) for point in result.diagnostics.trace] == [(1, 0.5), (3, 0.25)]
    assert result.diagnostics.stop_condition == "three lines"
    assert set(result.diagnostics.seconds) == {"shift"}
    np.testing.assert_allclose(result.transform.apply([[0.0, 0, 0]]), SMALL.unit_mm * np.array([[4.0, 5, 6]]))
    values = sitk.GetArrayFromImage(engine.mask)
    assert (values.dtype, set(np.unique(values)), values.sum()) == (np.float32, {0, 1}, 5 * 400)


def test_a_failing_status_and_a_missing_result_are_readable():
    with pytest.raises(EngineFailed, match=r"Shifter stopped with status 3: .*3 0\.25"):
        run(ShiftSettings(status=3))
    with pytest.raises(EngineFailed, match="Shifter stopped with status 0"):
        run(ShiftSettings(writes="other.txt"))


@pytest.mark.parametrize(
    ("output", "words", "hint"),
    [
        (Output(1, ("x", "Error: NO OVERLAP here")), "do not overlap", "Move them."),
        (Output(137, ("x",)), "ran out of memory", "smaller volume"),
        (Output(1, ("std::bad_alloc",)), "ran out of memory", "smaller volume"),
        (Output(2, ("a", "", "b")), "status 2: a / b", "See the log."),
    ],
)
def test_complaints_are_translated(output, words, hint):
    with pytest.raises(EngineFailed, match=words) as raised:
        ShiftEngine().check_output(output)
    assert hint in (raised.value.hint or "")


def test_what_is_not_finite_is_a_failure():
    with pytest.raises(EngineFailed, match="Shifter diverged") as raised:
        ShiftEngine().check_finite([1.0, float("nan")], "Smooth more.")
    assert raised.value.hint == "Smooth more."


def test_work_is_counted_by_what_levels_cost():
    assert work_done([1, 8, 64], 0, 0.0) == 0
    assert work_done([1, 8, 64], 1, 0.5) == pytest.approx(5 / 73)
    assert work_done([1, 8, 64], 2, 7.0) == 1


def test_levels_that_leave_too_few_voxels_are_left_out():
    assert usable_levels(GRID, (8, 4, 2, 1), fewest=6) == [0, 1, 2, 3]
    assert usable_levels(Grid((35, 40, 20), (1.0, 1.0, 4.0)), (8, 4, 2, 1), fewest=6) == [1, 2, 3]
    assert usable_levels(Grid((4, 4, 4)), (2, 1), fewest=6) == [1]


PARSERS = {
    "ants": (
        lambda: ants._Parser(ants.AntsSettings(iterations=(10, 20), shrink=(2, 1), smoothing_vox=(1, 0)), [0, 1]),
        ["XXDIAGNOSTIC,Iteration,metricValue", " 1DIAGNOSTIC,    20, -4.5e-01, 1e-3, 2, 1", "done"],
        Step("SyN, level 1 of 2", 1.25 / 21.25, 20, -0.45),
    ),
    "greedy": (
        lambda: greedy._Parser(greedy.GreedySettings(), (10, 20)),
        ["Level   1  Iter    5   Metrics  0.300  Energy = 0.625"],
        Step("greedy, level 2 of 2", 50 / 170, 5, -0.625),
    ),
    "niftyreg": (
        lambda: niftyreg._Parser(niftyreg.NiftyRegSettings(levels=2, iterations=100)),
        [
            "[NiftyReg F3D] Current level: 2 / 2",
            "[NiftyReg F3D] [50] Current objective function: 1.25 = (wSIM)1.2 - (wBE)1.00e-03",
        ],
        Step("NiftyReg, level 2 of 2", 5 / 9, 50, -1.25),
    ),
    "fireants": (
        lambda: fireants._Parser(fireants.FireAntsSettings(scales=(2, 1), iterations=(8, 9))),
        ["LEVEL 1 ITERATION 3 LOSS -0.75"],
        Step("FireANTs, level 2 of 2", 4 / 10, 3, -0.75),
    ),
    "convexadam": (
        lambda: convexadam._Parser(10),
        ["STAGE search", "ITERATION 5 LOSS 0.125"],
        Step("ConvexAdam, refinement", 0.65, 5, 0.125),
    ),
}


@pytest.mark.parametrize("name", PARSERS)
def test_logs_are_understood(name):
    make, lines, expected = PARSERS[name]
    parser = make()
    assert parser.parse("a line that says nothing") is None
    steps = [step for line in lines if (step := parser.parse(line))]
    assert (steps[-1].stage, steps[-1].iteration, steps[-1].metric) == (
        expected.stage,
        expected.iteration,
        expected.metric,
    )
    assert steps[-1].done == pytest.approx(expected.done)
