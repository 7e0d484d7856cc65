"""The panel under the stand-in: a loaded module, a phantom pair, and a fake worker process for quick tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from slicer_standin.pytest_plugin import *  # noqa: F403
from slicer_standin.pytest_plugin import slicer

MODULE = Path(__file__).resolve().parents[2] / "DeepVsClassicReg" / "DeepVsClassicReg.py"
ENGINE, PRESET = "sitk-demons", "paper"  # what the advice of `some_advice` recommends
ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")


@pytest.fixture(scope="session")
def module():
    """The loaded module."""
    from slicer_standin.modules import load_module

    return load_module(MODULE)


@pytest.fixture(scope="session")
def phantom():
    """A phantom pair of 32 voxels, made once."""
    from DeepVsClassicRegLib.mrml.sample_data import generate_phantom

    return generate_phantom("head", size=32)


@pytest.fixture
def same_library():
    """Brings the library's modules back after a test that reloaded them: other tests hold their classes."""
    library = ("DeepVsClassicRegLib", "DeepVsClassicRegTestCases")
    before = {name: kept for name, kept in sys.modules.items() if name.partition(".")[0] in library}
    yield
    slicer.modules.DeepVsClassicRegWidget.cleanup()
    for name in [name for name in sys.modules if name.partition(".")[0] in library]:
        del sys.modules[name]
    sys.modules.update(before)
    slicer.util.reloadScriptedModule("DeepVsClassicReg")


@pytest.fixture
def widget(module, slicer_scene, tmp_path, monkeypatch):
    """The module's panel on an empty scene with its own folder for temporary files; leaves no folder behind."""
    import qt

    qt.QSettings().remove("DeepVsClassicReg")
    monkeypatch.setattr(type(slicer.app), "temporaryPath", str(tmp_path), raising=False)
    slicer.util.selectModule("DeepVsClassicReg")
    python = module.widgetRepresentation().self()
    if python.panel is None:  # a test shut it down
        slicer.util.reloadScriptedModule("DeepVsClassicReg")
        python = module.widgetRepresentation().self()
    advise(python.panel, on=False)  # tests of the advice switch it on
    open_as_at_first(python.panel.ui)
    python.panel.set_parameter_node(python.logic.getParameterNode())
    python.panel.ui.threadsSpin.value = 1
    yield python
    python = module.widgetRepresentation().self()
    if python.panel is not None:
        python.panel.advice.stop()
        python.panel.runner.cancel()
        wait(lambda: not python.panel.runner.busy)
        python.panel.qa.close()
    assert not [path for path in tmp_path.iterdir() if "dvcreg" in path.name], "a job folder was left behind"


@pytest.fixture
def panel(widget):
    """The panel."""
    return widget.panel


@pytest.fixture
def ui(panel):
    """The panel's widgets by name."""
    return panel.ui


@pytest.fixture
def pair(widget, phantom):
    """The phantom pair as nodes in the scene."""
    from DeepVsClassicRegLib.mrml.sample_data import add_phantom

    return add_phantom(phantom)


@pytest.fixture
def picked(panel, pair, pick):
    """The phantom pair picked in the panel, quick engine chosen."""
    pick(pair)
    choose(panel.ui.engineCombo, "sitk-demons")
    wait(lambda: panel.ui.registerButton.enabled)
    return pair


@pytest.fixture
def pick(panel):
    """A function that picks nodes through the selectors, as a click would."""

    def through_selectors(nodes, roles=ROLES):
        from DeepVsClassicRegLib.ui.inputs_section import SELECTORS

        for role in roles:
            getattr(panel.ui, SELECTORS[role]).setCurrentNode(getattr(nodes, role))
        settle()

    return through_selectors


@pytest.fixture
def fake(panel, phantom, monkeypatch):
    """Replaces the worker process: nothing is computed, `fake.processes` shows what was started."""
    return FakeWorker(panel.runner, phantom, monkeypatch)


@pytest.fixture
def finish(panel, picked, ui, fake):
    """A function that runs a fake registration to its end and returns the run."""

    def run(**options):
        wait(lambda: ui.registerButton.enabled and not panel.checking)
        ui.registerButton.click()
        count = len(panel.results.runs)
        wait(lambda: len(fake.processes) and fake.processes[-1].started and not fake.processes[-1].was_shut_down)
        wait(lambda: panel.runner.current is not None and panel.runner.current.state == "computing")
        fake.processes[-1].finish(**options)
        wait(lambda: not panel.busy)
        assert len(panel.results.runs) == count + 1, ui.stageLabel.text
        return panel.results.runs[-1]

    return run


class FakeWorker:
    """Makes fake processes; a test steps them with `progress`, `finish`, `fail`."""

    def __init__(self, runner, phantom, monkeypatch) -> None:
        self.processes: list[FakeProcess] = []
        self.phantom = phantom
        monkeypatch.setattr(runner, "make_process", self._make)

    def _make(self, folder):
        process = FakeProcess(folder, self.phantom)
        self.processes.append(process)
        return process

    @property
    def process(self) -> FakeProcess:
        """The last process, waited for."""
        wait(lambda: self.processes and self.processes[-1].started)
        return self.processes[-1]


class FakeProcess:
    """Behaves as `ui.process.WorkerProcess`; `finish` copies a result made once per session."""

    results: dict[tuple, dict] = {}

    def __init__(self, folder, phantom) -> None:
        from DeepVsClassicRegLib.ui.scheduling import Signal

        self.folder, self.phantom = folder, phantom
        self.happened, self.ended = Signal(), Signal()
        self.session = SimpleNamespace(state="running")
        self.started = self.cancelled = self.was_shut_down = False

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True
        self.end("cancelled", "Canceled.")

    def shut_down(self) -> None:
        self.was_shut_down = True

    def progress(self, fraction, stage, metric=None) -> None:
        """Tell progress."""
        self.tell("progress", fraction=fraction, stage=stage, metric=metric)

    def tell(self, kind, **data) -> None:
        """Tell any event."""
        from DeepVsClassicRegLib.worker.protocol import Event

        self.happened.emit(Event(kind, data))

    def end(self, state, message="", hint="") -> None:
        """End without a result."""
        from DeepVsClassicRegLib.worker.session import JobOutcome

        self.ended.emit(JobOutcome(state, message, hint))

    def answer(self, **result) -> None:
        """End with plain values, as after a query."""
        from DeepVsClassicRegLib.worker.session import JobOutcome

        self.ended.emit(JobOutcome("finished", result=result))

    def first(self, *, broken=False) -> None:
        """Write and announce a first result, without the measures that follow later."""
        import json

        from DeepVsClassicRegLib.core.evaluation.measures import LATER, MEASURES

        job = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        write_result(self.folder, self.phantom, job["engine"], job["preset"], worse=False)
        path = self.folder / "out" / job["outputs"]["report"]
        report = json.loads(path.read_text(encoding="utf-8"))
        for column in report["measures"].values():
            for name in [name for name in column if MEASURES[name].family in LATER]:
                del column[name]
        path.write_text("{" if broken else json.dumps({**report, "missing": list(LATER)}), encoding="utf-8")
        (self.folder / "result.json").replace(self.folder / "first.json")
        self.tell("progress", fraction=0.98, stage="Measuring distances", result="first.json")

    def finish(self, engine=None, worse=False) -> None:
        """End with a result: the phantom's true transform, or a worse one."""
        import json

        from DeepVsClassicRegLib.worker.session import JobOutcome

        job = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        write_result(self.folder, self.phantom, engine or job["engine"], job["preset"], worse=worse)
        result = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        self.ended.emit(JobOutcome("finished", result=result))


def write_result(folder, phantom, engine, preset, *, worse) -> None:
    """Write what a worker writes, for the phantom's own transform; the same inputs are evaluated once per session."""
    import json

    from DeepVsClassicRegLib.core.job import Job

    job = Job.read(folder)
    key = (worse, *_content(job, folder))
    if key not in FakeProcess.results:
        FakeProcess.results[key] = _evaluated(job, folder, phantom, worse=worse)
    out, result = folder / "out", FakeProcess.results[key]
    out.mkdir(exist_ok=True)
    for name, content in result["files"].items():
        (out / job.outputs[name]).write_bytes(content)
    report = {**json.loads(result["report"]), "engine": engine, "preset": preset}
    (out / job.outputs["report"]).write_text(json.dumps(report))
    names = {name: job.outputs[name] for name in (*result["files"], "report")}
    answer = {"task": "register", "engine": engine, "files": names}
    if job.options.get("share_start"):
        (out / "start.h5").write_bytes(b"a start")
        answer["start"] = {"file": "start.h5", "facts": {}}
    (folder / "result.json").write_text(json.dumps(answer))


def _content(job, folder):
    """Return what a result depends on: every input byte, and the names of labels."""
    import zlib

    paths = sorted(job.input_paths(folder).items())
    return (*((role, zlib.crc32(path.read_bytes())) for role, path in paths), *sorted(job.label_names.items()))


def _evaluated(job, folder, phantom, *, worse):
    """Return the bytes of every output file by role, and the report as JSON text."""
    import json
    import tempfile

    from DeepVsClassicRegLib.core.engines.base import Diagnostics, TracePoint
    from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
    from DeepVsClassicRegLib.core.evaluation.make_report import make_report
    from DeepVsClassicRegLib.core.images.io import write_volume
    from DeepVsClassicRegLib.core.result import Result
    from DeepVsClassicRegLib.core.transforms.files import write_transform
    from DeepVsClassicRegLib.core.transforms.transform import Transform
    from DeepVsClassicRegLib.worker.registering import read_pair

    pair = read_pair(job, folder)
    transform = Transform() if worse else phantom.truth
    diagnostics = Diagnostics(trace=(TracePoint("Deform", 1, -0.5),), seconds={"Deform": 1.5}, notes=("Sigma <2>.",))
    result = Result(transform, diagnostics, engine=job.engine, preset=job.preset)
    found = evaluate(pair, result, threads=1)
    volumes = {"warped": found.warped, "warped_labels": found.warped_labels, "jacobian": found.jacobian}
    with tempfile.TemporaryDirectory() as place:
        files = {"transform": Path(place) / "transform.h5"}
        write_transform(transform, files["transform"], grid=pair.fixed.grid)
        for name, volume in volumes.items():
            if volume is not None:
                files[name] = Path(place) / f"{name}.nrrd"
                write_volume(volume, files[name])
        content = {name: path.read_bytes() for name, path in files.items()}
    return {"files": content, "report": json.dumps(make_report(pair, result, found).to_json(), default=str)}


def some_advice(**changes):
    """Advice as the worker returns it, made by the library's own classes."""
    from DeepVsClassicRegLib.core.recommendation.advice import Advice, Band, Plot, PlotPoint, Reason

    def point(name, share, mean):
        return PlotPoint(name, share, Band(mean - 0.05, mean, mean + 0.05))

    content = {
        "engine": ENGINE,
        "preset": PRESET,
        "runner_up": "sitk-bspline",
        "sure": True,
        "headline": "Use sitk-demons:paper.",
        "reasons": (Reason("one", "Because it is <so>.", "section 7"), Reason("two", "And so.", "measured")),
        "predicted_dice": {f"{ENGINE}:{PRESET}": Band(0.78, 0.82, 0.86), "sitk-bspline": Band(0.7, 0.75, 0.8)},
        "seconds": {f"{ENGINE}:{PRESET}": 10.4, "linear": 130.0},
        "limits": ("It has never seen a heart.",),
        "plot": Plot(
            engine=ENGINE,
            curve=tuple(point("", share, 0.5 + share / 2) for share in (0.1, 0.3, 0.6)),
            measured=((0.2, 0.6, "hippo"), (0.4, 0.7, "brain")),
            case=point("This pair", 0.35, 0.7),
            labels=(point("Thalamus", 0.3, 0.66), point("Ventricle", 0.5, 0.77)),
        ),
        **changes,
    }
    return Advice(**content).to_json()


def advise(panel, *, on) -> None:
    """Let the panel look for advice as soon as a pair is picked, or not."""
    from DeepVsClassicRegLib.ui.preferences import Preferences

    Preferences().advise = on
    panel.ui.adviseCheck.checked = on


def open_as_at_first(ui) -> None:
    """Open and close the sections as a new panel has them: a run closes those above its result."""
    at_first = ("inputsButton", "adviceButton", "methodButton", "resultButton")
    for name in [name for name in dir(ui) if name.endswith("Button")]:
        if hasattr(getattr(ui, name), "collapsed"):
            getattr(ui, name).collapsed = name not in at_first


def choose(combo, data) -> None:
    """Choose an entry of a combo box by its data."""
    index = combo.findData(data)
    assert index >= 0, f"no entry {data!r}"
    combo.currentIndex = index


def compare(panel, *engines):
    """Choose to compare engines in the panel."""
    choose(panel.ui.engineCombo, "compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name in engines
    wait(lambda: panel.ui.registerButton.enabled and not panel.checking)


def press(panel):
    """Press the button and wait until something runs."""
    panel.ui.registerButton.click()
    settle()


def node_ids() -> set[str]:
    """Return the ids of all nodes."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def table_texts(view) -> list[list[str]]:
    """Return the cells of a table view, row by row."""
    model = view.model()
    return [
        [str(model.index(row, column).data()) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


def shown(widget) -> bool:
    """Return whether a widget would be seen if the window were shown and every section open."""
    return not widget.isHidden()


def settle(rounds: int = 3) -> None:
    """Let timers and layouts come to rest."""
    from slicer_standin import screenshots

    screenshots.settle(rounds)


def wait(condition, timeout_s: float = 300.0):
    """Run the event loop until a condition holds."""
    from slicer_standin.watch import wait_until

    return wait_until(condition, timeout_s)


def worker_processes() -> list[int]:
    """Return the ids of living worker processes that this process started, children of children included."""
    import psutil

    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if any("DeepVsClassicRegLib.worker" in part for part in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


sys.modules.setdefault("panel_helpers", sys.modules[__name__])


@pytest.fixture
def only_the_hierarchy_complains(recorded_errors):
    """Forgive what the subject hierarchy of slicer-core reports at every second scene loaded into one process."""
    yield
    known = ("ResolveUnresolvedItems", "ResolveSubjectHierarchy")
    assert not [text for text in recorded_errors() if not any(name in text for name in known)]
