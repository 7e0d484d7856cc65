"""Lengths: a header in other units or an animal gives what a head gives; a head gives what it always did."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.catalogue import engine_names, get_engine
from DeepVsClassicRegLib.core.engines.elastix.engine import ElastixSettings, stage_parameters
from DeepVsClassicRegLib.core.engines.engine_input import in_units, native_start, same_grid_start
from DeepVsClassicRegLib.core.engines.external.greedy import GreedySettings, greedy_arguments
from DeepVsClassicRegLib.core.engines.sitk_bspline import HEAD_GRID_SPACING, _mesh
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.evaluation.verdict import findings
from DeepVsClassicRegLib.core.images.grid import Grid, length_text, nearest_step
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.settings import presets
from DeepVsClassicRegLib.core.transforms.invert import invert
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform, compacted, deviation_mm

from . import Case, Gives, NotInstalled

HEAD = Grid((160, 192, 160))
SIZE = 32
# A third of the usual work: the question is whether the scale matters, not how good the engine is.
CHANGES: dict[str, dict[str, Any]] = {
    "elastix": {"iterations": 150},
    "sitk-bspline": {"iterations": (6, 6, 6)},
    "ants": {"iterations": (30, 20, 10, 5)},
    "fireants": {"iterations": (30, 20, 10)},
    "instance": {"iterations": (20, 20, 10)},
}
QUICK = ("linear", "instance", "sitk-demons", "greedy")
# Testing/core/test_agent.py has their test at two scales.
AGENTS = ("agent", "agent-deformable")
SLOW = (
    "learned-metric",
    "elastix",
    "sitk-bspline",
    "ants",
    "network",
    "network+refine",
    "convexadam",
    "fireants",
    "niftyreg",
)


def plain(name: str, call: Callable[[], Any], truth: Any, tolerance: float = 0.0) -> Case:
    return Case("G", name, lambda folder: call, Gives(truth, tolerance))


@cache
def phantom() -> Pair:
    return make_phantom("head", size=SIZE).pair


@cache
def linear_start() -> Transform:
    return register(phantom(), "linear", threads=1).transform


def dice_at(engine: str, factor: float) -> float:
    pair = phantom().scaled(factor)
    if get_engine(engine).info.starts_linear:
        pair = pair.replace(initial=linear_start().scaled(factor))
    result = register(pair, engine, threads=1, settings=CHANGES.get(engine, {}))
    return float(evaluate(pair, result, measures=("overlap",)).after["dice_mean"])


@cache
def dice_of_head(engine: str) -> float:
    return dice_at(engine, 1.0)


def difference(engine: str, factor: float) -> Callable[[], float]:
    def call() -> float:
        if missing := get_engine(engine).info.missing():
            raise NotInstalled(f"engine '{engine}' needs {', '.join(need.name for need in missing)}")
        return dice_at(engine, factor) - dice_of_head(engine)

    return call


def elastix_numbers(stage: str, grid: Grid) -> list[float]:
    entries = stage_parameters(ElastixSettings(stages=(stage,)), seed=1, grid=grid)[0]
    names = ("FinalGridSpacingInPhysicalUnits", "SampleRegionSize", "SP_a")
    return [float(value) for name in names for value in entries.get(name, ())]


def mouse(grid: Grid = HEAD, factor: float = 0.05) -> Grid:
    return grid.scaled(factor)


def volume(grid: Grid) -> Volume:
    return Volume(np.random.default_rng(0).random(grid.shape, dtype=np.float32), grid)


def small_pair(factor: float = 1.0) -> Pair:
    grid = Grid((16, 18, 14), (1.0, 1.0, 1.0), (-5.0, 2.0, 7.0)).scaled(factor)
    return Pair(volume(grid), volume(grid))


def bent(factor: float = 1.0) -> DisplacementField:
    grid = Grid((24, 24, 24)).scaled(factor)
    z, y, x = np.meshgrid(*(np.linspace(0, np.pi, 24),) * 3, indexing="ij")
    bump = 1.5 * np.sin(z) * np.sin(y) * np.sin(x)
    return DisplacementField((factor * np.stack([bump, -bump, 0.5 * bump], -1)).astype(np.float32), grid)


def same_numbers(factor: float) -> Callable[[], bool]:
    """Whether a back end gets the very same grids and start for a header in other units."""

    def call() -> bool:
        pair = phantom().replace(initial=linear_start())
        one, other = (
            native_start(pair),
            native_start(pair.scaled(factor).replace(initial=linear_start().scaled(factor))),
        )
        same = one.fixed.grid == other.fixed.grid and one.moving.grid == other.moving.grid
        return same and bool(np.array_equal(one.affine.homogeneous, other.affine.homogeneous))

    return call


def complete_map(factor: float) -> Callable[[], float]:
    """How far a start's completed map is from the map put into it, relative to the size."""

    def call() -> float:
        pair = small_pair(factor).replace(initial=Transform((Affine.shift(np.array([1.0, 2.0, -1.0]) * factor),)))
        start = native_start(pair)
        points = pair.fixed.grid.points()[::4, ::4, ::4]
        wanted = Transform((Affine.shift(np.array([1.0, 2.0, -1.0]) * factor),)).apply(points)
        return float(np.abs(start.complete(start.affine).apply(points) - wanted).max() / factor)

    return call


def round_trip_questioned(factor: float, error: float) -> Callable[[], bool]:
    report = {
        "measures": {"after": {"inverse_residual_mm": error * factor}},
        "inputs": {"fixed": {"size": HEAD.size, "spacing_mm": mouse(HEAD, factor).spacing_mm}},
    }
    return lambda: any(found.name == "round-trip" for found in findings(Report.from_json(report)))


def inverse_error(factor: float) -> float:
    """Residual of an inversion in units of the head."""
    found = invert(Transform((bent(factor),)), bent(factor).grid.scaled(1.0))
    return found.residual_max_mm / factor


def largest_loss(factor: float) -> float:
    """What storing a field coarser loses, in units of the head."""
    field = bent(factor)
    return deviation_mm(compacted(field), field) / factor


def greedy_smoothing(factor: float) -> str:
    pair = small_pair(factor)
    start = native_start(pair)
    arguments = greedy_arguments(start, GreedySettings(), (1,), Compute(threads=1))
    return " ".join(arguments[arguments.index("-s") + 1 :][:2])


def bspline_mesh(grid: Grid) -> list[int]:
    unit = grid.unit_mm
    return _mesh(grid.scaled(1 / unit), HEAD_GRID_SPACING)


def engines_left_out() -> list[str]:
    """Engines of the catalogue whose scale no case below changes."""
    return sorted({*engine_names()} ^ {*QUICK, *SLOW, *AGENTS})


def preset_lengths() -> list[str]:
    """Settings in absolute millimeters that a preset fixes; they would mean other things at another size."""
    kinds = {name: get_engine(name).info.settings for name in (*QUICK, *SLOW)}
    fixed = []
    for name, kind in kinds.items():
        units = {field.name: field.metadata.get("unit") for field in dataclasses.fields(kind)}
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        for preset in presets(name).values():
            values = {**defaults, **preset.values}
            fixed += [f"{name}:{preset.name}:{key}" for key, unit in units.items() if unit == "mm" and values[key]]
    return fixed


CASES = [
    *[
        plain(
            f"a head at 1 mm of {' x '.join(map(str, size))} voxels has the unit 1", lambda s=size: Grid(s).unit_mm, 1.0
        )
        for size in ((160, 192, 160), (256, 256, 256), (181, 217, 181), (160, 160, 160), (35, 50, 35))
    ],
    *[
        plain(
            f"unit of a head whose header says {factor:g} times", lambda f=factor: mouse(HEAD, f).unit_mm / f, 1.0, 1e-9
        )
        for factor in (0.001, 0.01, 0.1, 10.0, 1000.0)
    ],
    *[
        plain(f"unit of {what}", lambda n=size, mm=spacing: Grid((n,) * 3, mm).unit_mm, unit)
        for what, size, spacing, unit in (
            ("a head at 2 mm", 96, (2.0, 2.0, 2.0), 1.0),
            ("a head in thick slices", 256, (0.5, 0.5, 5.0), 1.0),
            ("a CT of the body", 512, (0.7, 0.7, 0.7), 1.0),
            ("a PET of the whole body", 200, (4.07, 4.07, 3.0), 1.0),
            ("a mouse brain at 0.1 mm", 160, (0.1, 0.1, 0.1), 0.1),
            ("a mouse brain at 0.05 mm", 256, (0.05, 0.05, 0.05), 0.1),
            ("a bone at 10 micrometers", 512, (0.01, 0.01, 0.01), 0.01),
        )
    ],
    plain("B-spline stage of elastix for a head", lambda: elastix_numbers("bspline", HEAD), [6, 50, 50, 50, 10000]),
    plain("brain stage of elastix for a head", lambda: elastix_numbers("brain-t1", HEAD), [5, 50, 50, 50, 10000]),
    plain("lung stage of elastix for a head", lambda: elastix_numbers("lung-ct", HEAD), [5, 50, 50, 50, 10000]),
    plain(
        "multimodal stage of elastix for a head", lambda: elastix_numbers("multimodal", HEAD), [8, 50, 50, 50, 10000]
    ),
    plain("B-spline of SimpleITK for a head", lambda: bspline_mesh(Grid((192, 224, 192))), [12, 14, 12]),
    plain("B-spline of SimpleITK for a mouse", lambda: bspline_mesh(mouse(Grid((192, 224, 192)), 0.1)), [12, 14, 12]),
    plain("smoothing of greedy for a head", lambda: greedy_smoothing(1.0), "1.5mm 0.5mm"),
    plain("smoothing of greedy for a header in centimeters", lambda: greedy_smoothing(0.1), "1.5mm 0.5mm"),
    plain("a head is handed over as it is", lambda: in_units(small_pair())[1], 1.0),
    plain("demons see a head as it is", lambda: same_grid_start(small_pair()).unit_mm, 1.0),
    *[plain(f"the same numbers for a header {f:g} times", same_numbers(f), True) for f in (0.001, 0.01, 10.0)],
    *[plain(f"a map comes back in millimeters, {f:g} times", complete_map(f), 0.0, 1e-5) for f in (0.01, 1.0, 10.0)],
    *[plain(f"inverse of a field, {f:g} times", lambda f=f: inverse_error(f), 0.0, 0.02) for f in (0.001, 1.0, 100.0)],
    *[
        plain(f"field stored coarser, {f:g} times", lambda f=f: largest_loss(f), 0.0, 0.0501)
        for f in (0.001, 1.0, 100.0)
    ],
    plain("grids of a microscope one voxel apart differ", lambda: _shifted(0.001, 1.0), False),
    plain("grids of a head 0.9 micrometers apart are the same", lambda: _shifted(1.0, 0.0009), True),
    plain("grids of a head 1.1 micrometers apart differ", lambda: _shifted(1.0, 0.0011), False),
    plain("a round trip of 0.6 mm in a head is questioned", round_trip_questioned(1.0, 0.6), True),
    plain("a round trip of 0.4 mm in a head is not", round_trip_questioned(1.0, 0.4), False),
    plain("a round trip of 0.06 mm in a mouse brain is questioned", round_trip_questioned(0.05, 1.2), True),
    plain("lines of the deformed grid in a head", lambda: nearest_step(8.0), 8.0),
    plain("lines of the deformed grid in a mouse brain", lambda: nearest_step(0.08), 0.08, 1e-9),
    plain("a length below a millimeter keeps its digits", lambda: length_text(0.0123), "0.012 mm"),
    plain("no preset fixes a length in millimeters", preset_lengths, []),
    plain("every engine is tried at two scales", engines_left_out, []),
    *[
        plain(f"{engine}, header {factor:g} times, Dice as unscaled", difference(engine, factor), 0.0, 0.005)
        for engine in QUICK
        for factor in (0.01, 10.0)
    ],
    *[
        dataclasses.replace(
            plain(f"{engine}, header {factor:g} times, Dice as unscaled", difference(engine, factor), 0.0, 0.005),
            slow=True,
        )
        for engine in SLOW
        for factor in (0.01, 10.0)
    ],
]


def _shifted(factor: float, voxels: float) -> bool:
    grid = Grid((20, 20, 20), (factor,) * 3)
    return grid.same_as(dataclasses.replace(grid, origin_mm=(voxels * factor, 0.0, 0.0)))
