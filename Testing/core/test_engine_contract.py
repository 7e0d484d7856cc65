"""What every engine of the catalogue must do: one contract, one test file, whatever the engine."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import time
from functools import cache

import numpy as np
import psutil
import pytest
from DeepVsClassicRegLib.core.device import Compute, sitk_threads
from DeepVsClassicRegLib.core.engines.base import Requirement, needs, remedy
from DeepVsClassicRegLib.core.engines.catalogue import ENGINES, engine_names, get_engine
from DeepVsClassicRegLib.core.errors import Cancelled, EngineUnavailable
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import from_json, make_settings, presets, to_json
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform
from testing_grids import oblique_grid

# Fewer iterations than the defaults: the contract asks for the right direction, not for the last tenth.
FASTER = {
    "elastix": {"iterations": 200},
    "sitk-bspline": {"metric": "mean-squares", "iterations": (12, 12, 12), "grid_spacing_mm": 8},
    "ants": {"iterations": (30, 30, 20, 10)},
    "greedy": {"update_sigma_vox": 2.2, "total_sigma_vox": 0.8},
    "fireants": {"iterations": (60, 40, 20)},
    "learned-metric": {"model": "test-differences", "kind": "affine"},
    "agent": {"model": "test-rigid-agent"},
    "agent-deformable": {"model": "test-deformable-agent"},
    "network": {"model": "test-demons"},
    "network+refine": {"model": "test-demons", "refine_levels": 1},
}
# Engines whose every run costs seconds: their second runs are left to the slow tests.
HEAVY = {"elastix", "sitk-bspline", "ants", "fireants", "convexadam"}
# CPU time of this process and its children after the request, which no other load of the machine changes.
CANCEL_CPU_SECONDS = 2.0
# Wall time, only to find an engine that waits without computing; a busy machine stretches two seconds of it a lot.
CANCEL_WAIT_SECONDS = 300.0
MIDDLE = np.array([3.0, -7.0, 11.0])


@pytest.fixture(scope="module", autouse=True)
def testing_model(tmp_path_factory):
    """A model that knows this anatomy: the contract is about the engine around it."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        yield
        return
    from testing_models import (
        DEFORMABLE_AGENT,
        DEMONS,
        DIFFERENCES,
        RIGID_AGENT,
        known_methods,
        write_deformable_agent,
        write_demons,
        write_differences,
        write_rigid_agent,
    )

    folder = tmp_path_factory.mktemp("models")
    with known_methods(), pytest.MonkeyPatch.context() as patch:
        write_demons(folder / DEMONS)
        write_differences(folder / DIFFERENCES)
        write_rigid_agent(folder / RIGID_AGENT)
        write_deformable_agent(folder / DEFORMABLE_AGENT)
        patch.setenv("DVCREG_MODELS", str(folder))
        yield


def each_engine(*, slow_when_heavy: bool = False):
    """Parametrize a test over the catalogue."""
    marks = {name: [pytest.mark.slow] if slow_when_heavy and name in HEAVY else [] for name in ENGINES}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in ENGINES])


def engine_or_skip(name: str, *, installed: bool = True):
    engine = get_engine(name)
    if installed and engine.info.missing():
        pytest.skip(f"engine '{name}' needs {engine.info.missing()[0].name}")
    return engine


def anatomy(points: np.ndarray) -> np.ndarray:
    """Smooth blobs of different sizes and intensities around MIDDLE, as a function of LPS mm."""
    rng = np.random.default_rng(7)
    total = np.zeros(points.shape[:-1])
    for center, radius, height in zip(
        rng.uniform(-14, 14, (40, 3)), rng.uniform(3, 7, 40), rng.uniform(0.3, 1, 40), strict=True
    ):
        total += height * np.exp(-((points - MIDDLE - center) ** 2).sum(-1) / radius**2)
    return 100 * total


def bend(points: np.ndarray) -> np.ndarray:
    """A smooth invertible warp of up to 3 mm."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    return points + np.stack([2.4 * np.sin(y / 12), 1.8 * np.cos(z / 14), 2.0 * np.sin(x / 13)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair whose true fixed-to-moving map is known in closed form."""

    pair: Pair
    truth: np.ndarray

    def error(self, transform: Transform | None) -> float:
        """Mean distance in mm to the truth over the voxels that show something."""
        grid = self.pair.fixed.grid
        found = grid.points() + (0 if transform is None else transform.displacement_on(grid).array_mm)
        seen = self.pair.fixed.array > 0.15 * self.pair.fixed.array.max()
        return float(np.linalg.norm(found - self.truth, axis=-1)[seen].mean())


def case(fixed_grid: Grid, moving_grid: Grid, truth, initial: Transform | None = None) -> Case:
    mapped = truth(fixed_grid.points())
    pair = Pair(
        Volume(anatomy(mapped), fixed_grid, "fixed"),
        Volume(anatomy(moving_grid.points()), moving_grid, "moving"),
        initial=initial,
    )
    return Case(pair, mapped)


# Oblique, anisotropic, one left-handed and one right-handed, different sizes.
FIXED = oblique_grid((26, 24, 20), (1.7, 1.8, 2.4), seed=1, left_handed=True)
MOVING = oblique_grid((24, 26, 22), (1.9, 1.6, 2.0), seed=2, left_handed=False)
PLAIN = oblique_grid((24, 24, 24), (1.8, 1.8, 1.8), seed=1, left_handed=False)
START = Affine.about(np.diag([1.05, 0.96, 1.03]), MIDDLE, (2.0, -1.5, 1.0))


@cache
def warped_case(linear: bool) -> Case:
    if linear:
        return case(FIXED, MOVING, START.apply)
    return case(FIXED, MOVING, lambda points: START.apply(bend(points)), Transform((START,)))


def run(name: str, pair: Pair, *, seed: int = 3, progress: Progress | None = None):
    engine = engine_or_skip(name)
    settings = make_settings(engine.info.settings, name, changes=FASTER.get(name, {}))
    with sitk_threads(1):
        return engine.run(pair, settings, progress or Progress(), Compute(device="cpu", threads=1, seed=seed))


@cache
def main_run(name: str):
    """The run that several tests look at: the warped case, with all its progress."""
    subject = warped_case(get_engine(name).info.family == "linear")
    before = [volume.array.copy() for volume in (subject.pair.fixed, subject.pair.moving)]
    updates = []
    result = run(name, subject.pair, progress=Progress(listener=updates.append))
    untouched = all(
        np.array_equal(old, volume.array)
        for old, volume in zip(before, (subject.pair.fixed, subject.pair.moving), strict=True)
    )
    return subject, result, updates, untouched


@each_engine()
def test_known_warp_between_oblique_anisotropic_grids_of_both_hands_is_found(name):
    engine_or_skip(name)
    subject, result, _, _ = main_run(name)
    before, after = subject.error(subject.pair.initial), subject.error(result.transform)
    assert before > 1.5
    assert after < 0.6 * before


@each_engine()
def test_progress_never_falls_and_ends_at_one(name):
    engine_or_skip(name)
    fractions = [update.fraction for update in main_run(name)[2]]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0
    assert fractions[-1] == pytest.approx(1.0)


@each_engine()
def test_diagnostics_say_how_it_went(name):
    engine_or_skip(name)
    diagnostics = main_run(name)[1].diagnostics
    assert diagnostics.stop_condition
    assert diagnostics.seconds
    assert all(seconds >= 0 for seconds in diagnostics.cpu_seconds.values())
    assert diagnostics.seed == 3
    assert diagnostics.threads == 1
    assert diagnostics.versions["SimpleITK"]
    assert all(np.isfinite(point.metric) for point in diagnostics.trace)
    stages = [point.stage for point in diagnostics.trace]
    assert stages, "every back end here tells its objective"


@each_engine()
def test_inputs_are_untouched(name):
    engine_or_skip(name)
    assert main_run(name)[3]


@each_engine(slow_when_heavy=True)
def test_same_seed_gives_the_same_field(name):
    engine_or_skip(name)
    subject, first, _, _ = main_run(name)
    second = run(name, subject.pair)
    fields = [result.transform.displacement_on(FIXED).array_mm for result in (first, second)]
    assert np.array_equal(*fields)


@each_engine(slow_when_heavy=True)
def test_identical_volumes_stay_where_they_are(name):
    subject = case(PLAIN, PLAIN, lambda points: points)
    result = run(name, subject.pair)
    assert subject.error(result.transform) < 0.3


@each_engine(slow_when_heavy=True)
def test_known_shift_is_found_without_a_start(name):
    subject = case(PLAIN, PLAIN, lambda points: points + np.array([2.0, -1.5, 1.0]))
    result = run(name, subject.pair)
    assert subject.error(result.transform) < 0.45 * subject.error(None)


@each_engine(slow_when_heavy=True)
def test_non_linear_start_is_part_of_the_result(name):
    engine = engine_or_skip(name)
    if engine.info.family == "linear":
        pytest.skip("a linear engine cannot keep a non-linear start")
    reach = FIXED.padded(6)
    bent = DisplacementField((bend(reach.points()) - reach.points()).astype(np.float32), reach)
    start = Transform((bent, START))
    subject = case(FIXED, MOVING, lambda points: START.apply(bend(points)), start)
    result = run(name, subject.pair)
    assert subject.error(start) < 0.05
    assert subject.error(result.transform) < 0.6


def spent_cpu_seconds() -> float:
    """CPU time of this process, of its children that have ended, and of those that run."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            running = child.cpu_times()
            # What a child's own ended children took is part of its time when it ends.
            total += running.user + running.system + running.children_user + running.children_system
    return total


@each_engine()
def test_a_cancel_ends_the_run_soon(name):
    engine = engine_or_skip(name)
    asked: list[float] = []
    spent: list[float] = []

    def listener(update):
        if update.fraction > 0.02 and not asked:
            spent.append(spent_cpu_seconds())
            asked.append(time.perf_counter())

    subject = warped_case(engine.info.family == "linear")
    with pytest.raises(Cancelled):
        run(name, subject.pair, progress=Progress(listener=listener, cancelled=lambda: bool(asked)))
    assert spent_cpu_seconds() - spent[0] < CANCEL_CPU_SECONDS
    assert time.perf_counter() - asked[0] < CANCEL_WAIT_SECONDS


@each_engine()
def test_missing_package_is_reported_with_a_remedy(name, monkeypatch):
    engine = engine_or_skip(name, installed=False)
    if not engine.info.requires:
        pytest.skip("needs nothing beyond the library's own requirements")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    monkeypatch.delenv("ELASTIX_PATH", raising=False)
    assert engine.info.missing()
    with pytest.raises(EngineUnavailable) as raised:
        engine.info.require()
    assert name in raised.value.message
    hint = raised.value.hint
    # One sentence: a capital at the beginning, a period at the end and none before it.
    assert hint[0].isupper() and hint.endswith(".") and not re.search(r"[.!?]\s", hint), hint
    commands = re.findall(r'"([^"]+)"', hint)
    assert len(set(commands)) == len(commands), hint
    packages = [word for command in commands for word in command.split() if word not in ("pip", "install", "--no-deps")]
    assert len(set(packages)) == len(packages), hint
    assert not re.search(r"\b(\w{4,})(?:\W+\w+){0,3}?\W+\1\b", re.sub(r'"[^"]+"', "", hint)), f"says it twice: {hint}"


@each_engine()
def test_each_single_missing_requirement_has_a_remedy_of_its_own(name):
    for need in engine_or_skip(name, installed=False).info.requires:
        assert needs([need])
        assert re.fullmatch(r"[A-Z].*[^.]\.", remedy([need])), remedy([need])


def test_what_cannot_be_helped_hides_what_could_be():
    needed = (Requirement("a", "a"), Requirement("fcntl", title="Linux", how="choose another engine", final=True))
    assert remedy(needed) == "Choose another engine."
    assert needs(needed) == "Linux"
    assert remedy(()) == ""


@each_engine()
def test_settings_round_trip_through_json(name):
    kind = engine_or_skip(name, installed=False).info.settings
    assert kind.__dataclass_params__.frozen
    settings = kind()
    assert from_json(kind, json.loads(json.dumps(to_json(settings)))) == settings
    for field in dataclasses.fields(kind):
        assert field.metadata.get("label"), f"setting '{field.name}' has no label for the panel"


@each_engine()
def test_all_presets_parse_and_describe_themselves(name):
    kind = engine_or_skip(name, installed=False).info.settings
    for preset in presets(name).values():
        assert isinstance(make_settings(kind, name, preset.name), kind)
        assert preset.title
        assert preset.summary


@each_engine()
def test_description_is_complete(name):
    info = engine_or_skip(name, installed=False).info
    assert info.name == name
    assert info.family in ("linear", "classical", "deep")
    assert info.title
    assert info.summary.endswith(".")
    assert any(mark in info.citation for mark in ("doi", "arXiv"))
    assert info.licence


def test_every_engine_of_the_catalogue_has_its_module():
    names = [entry.partition(":")[0] for entry in ENGINES.values()]
    found = [importlib.util.find_spec(f"DeepVsClassicRegLib.core.engines.{module}") is not None for module in names]
    assert all(found), dict(zip(engine_names(), found, strict=True))
