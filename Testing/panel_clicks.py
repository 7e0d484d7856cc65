"""Random clicks over every widget of the panel, with scenes that close, load and lose nodes under it.

The clicks are seeded; a failure names the seed, the step and what was done before. Work is done by a fake worker
which the clicks themselves let advance, fail and finish, in the long version by the real one, too.
"""

from __future__ import annotations

import random
from types import SimpleNamespace

import slicer
from panel_helpers import FakeProcess, choose, settle, some_advice, wait
from slicer_standin import errors

WAIT_S = 120
LOOKS = ("blend", "flicker", "checkerboard", "difference", "contours", "redCyan", "grid", "arrows", "jacobian")
ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")


class Soak:
    """One user who clicks at random, and the actions they choose from.

    Parameters
    ----------
    module : qSlicerScriptedLoadableModule
        The loaded module.
    phantom : Phantom
        What the example button gives.
    folder : Path
        For saved files.
    seed : int
        Of everything that is chosen.
    real_share : float
        Part of the runs that the real worker does.
    """

    def __init__(self, module, phantom, folder, monkeypatch, dialogs, *, seed, real_share=0.0):
        self.module, self.phantom, self.folder = module, phantom, folder
        self.dialogs, self.real_share = dialogs, real_share
        self.random = random.Random(seed)
        self.seed, self.done, self.processes = seed, [], []
        self.scenes = []
        self._patch = monkeypatch
        self.arm()

    @property
    def panel(self):
        """The panel of the module as it is now: reloading makes a new one."""
        return self.module.widgetRepresentation().self().panel

    @property
    def ui(self):
        """The panel's widgets by name."""
        return self.panel.ui

    def arm(self):
        """Put the fake worker and the small phantom into the panel."""
        from DeepVsClassicRegLib.ui import panel as source

        self._patch.setattr(source, "generate_phantom", lambda *_arguments: self.phantom)
        self._patch.setattr(self.panel.runner, "make_process", self._make_process)
        self.panel.ui.threadsSpin.value = 1

    def run(self, clicks):
        """Click; after each one everything that is deferred happens."""
        self.done.append("complete")
        complete(self)
        for _step in range(clicks):
            action = self.random.choices(list(ACTIONS), ACTIONS.values())[0]
            self.done.append(action.__name__)
            action(self)
            self.settle()
        self.done.append("end")
        while self.panel.busy:
            advance(self)
            self.settle()
        self.panel.qa.close()
        self.settle()

    def settle(self):
        """Let the event loop come to rest, and fail on whatever was reported meanwhile."""
        settle(1)
        found = errors.take()
        assert not found, f"seed {self.seed}, step {len(self.done)} after {self.done[-6:]}:\n" + "\n".join(found)

    def note(self, text):
        """Say more about the step, for the report of a failure."""
        self.done[-1] += f"({text})"

    def running(self):
        """Return the fake process of the running query, if there is one."""
        return next((process for process in self.processes if process.session.outcome is None), None)

    def _make_process(self, folder):
        from DeepVsClassicRegLib.ui.process import WorkerProcess

        if self.random.random() < self.real_share:
            return WorkerProcess(folder)
        process = ObedientProcess(folder, self.phantom)
        self.processes.append(process)
        return process


class ObedientProcess(FakeProcess):
    """A fake process that remembers whether it has ended."""

    def __init__(self, folder, phantom):
        super().__init__(folder, phantom)
        self.session = SimpleNamespace(state="running", outcome=None)
        self.ended.connect(self._remember)

    def shut_down(self):
        super().shut_down()
        self.session.outcome = "shut down"

    def _remember(self, outcome):
        self.session.outcome = outcome


def buttons(soak):
    """Press any button that can be pressed."""
    import qt

    found = [button for button in usable(soak, qt.QAbstractButton) if button.objectName]
    if found:
        button = soak.random.choice(found)
        soak.note(button.objectName)
        button.click()


def look(soak):
    """Look at the shown run in some way."""
    button = getattr(soak.ui, f"{soak.random.choice(LOOKS)}Button")
    if button.enabled:
        soak.note(button.objectName)
        button.click()
        if soak.random.random() < 0.7:
            wait(lambda: not soak.panel.qa.busy, WAIT_S)


def choices(soak):
    """Choose any entry of any combo box, tab bar or list."""
    import qt

    choose_in(soak, soak.random.choice(usable(soak, qt.QComboBox) or [soak.ui.engineCombo]))


def choose_in(soak, combo):
    """Choose an entry that the user could choose."""
    model = combo.model()
    found = [row for row in range(combo.count) if not hasattr(model, "item") or model.item(row).isEnabled()]
    if found:
        index = soak.random.choice(found)
        soak.note(f"{combo.objectName} {combo.itemText(index)}")
        combo.currentIndex = index


def tabs(soak):
    """Look at another run."""
    bar = soak.panel.results.tabs
    if bar.count:
        bar.currentIndex = soak.random.randrange(bar.count)
        if soak.ui.queueList.count:
            soak.ui.queueList.setCurrentRow(soak.random.randrange(soak.ui.queueList.count))


def numbers(soak):
    """Change any number."""
    import qt

    sliders = [getattr(soak.ui, f"{name}Slider") for name in ("opacity", "tile", "spacing", "flicker")]
    spins = [spin for spin in usable(soak, qt.QAbstractSpinBox) if hasattr(spin, "maximum")]
    widget = soak.random.choice([*sliders, *spins])
    soak.note(widget.objectName)
    low, high = widget.minimum, min(widget.maximum, widget.minimum + 50)
    widget.value = type(widget.value)(low + soak.random.random() * (high - low))


def engine(soak):
    """Choose an engine, presets and settings are shown again."""
    choose_in(soak, soak.ui.engineCombo)


def links(soak):
    """Follow a link of the verdict or the advice."""
    for name in ("verdictLabel", "adviceLabel"):
        text = getattr(soak.ui, name).text
        for part in text.split('href="')[1:]:
            getattr(soak.ui, name).linkActivated.emit(part.partition('"')[0])


def pick(soak):
    """Pick the example pair, or any node for any role."""
    from DeepVsClassicRegLib.ui.inputs_section import SELECTORS

    if soak.random.random() < 0.6:
        return sample(soak)
    combo = getattr(soak.ui, soak.random.choice(list(SELECTORS.values())))
    nodes = [node for node in listed() if any(node.IsA(kind) for kind in combo.nodeTypes)]
    combo.setCurrentNode(soak.random.choice([None, *nodes]))
    return None


def sample(soak):
    """Load the example pair beside what is there."""
    from DeepVsClassicRegLib.mrml.sample_data import add_phantom
    from DeepVsClassicRegLib.ui.inputs_section import SELECTORS

    if slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") > 12:
        return
    made = add_phantom(soak.phantom)
    for role in ROLES:
        getattr(soak.ui, SELECTORS[role]).setCurrentNode(getattr(made, role))


def register(soak):
    """Start the run that is set up, or cancel the one that runs."""
    wait(lambda: not soak.panel.checking, WAIT_S)
    if soak.ui.registerButton.enabled:
        soak.ui.registerButton.click()
        wait(lambda: soak.running() or not soak.panel.busy or soak.panel.run.held or soak.real_share, WAIT_S)


def complete(soak):
    """Do a whole run, or a comparison, to its end."""
    if soak.panel.busy:
        return advance(soak)
    names = soak.random.choice([["sitk-demons"], ["linear"], ["sitk-demons", "linear"]])
    sample(soak)
    if len(names) == 1:
        choose(soak.ui.engineCombo, names[0])
    else:
        choose(soak.ui.engineCombo, "compare")
        for name, (check, _combo) in soak.panel.engines.compare_list.rows.items():
            check.checked = name in names
    for role in ("transform", "warped", "warpedLabels", "jacobian"):
        getattr(soak.ui, f"{role}Check").checked = True
    register(soak)
    for _part in range(20):
        if soak.panel.runner.busy:
            advance(soak)
    soak.note(f"{len(soak.panel.results.runs)} runs")
    return None


def advance(soak):
    """Let the worker go on, fail or finish."""
    process = soak.running()
    if process is None:
        wait(lambda: soak.running() or not soak.panel.busy, WAIT_S)
        return
    wait(lambda: process.started or process.session.outcome, WAIT_S)
    if process.session.outcome is not None:
        return
    is_advice = '"recommend"' in (process.folder / "job.json").read_text(encoding="utf-8")
    chance = soak.random.random()
    if chance < 0.2:
        process.progress(soak.random.random(), "Deform", -soak.random.random())
    elif chance < 0.3:
        process.end(soak.random.choice(["failed", "rejected"]), "It went wrong.", "Try again.")
    elif chance < 0.5 and not is_advice:
        process.first(broken=soak.random.random() < 0.2)
    elif is_advice:
        process.answer(advice=some_advice())
    else:
        process.finish(worse=soak.random.random() < 0.3)
        if soak.random.random() < 0.8:
            wait(lambda: soak.running() or not soak.panel.runner.busy, WAIT_S)


def delete_node(soak):
    """Delete any node that the Data module lists."""
    nodes = listed()
    if nodes:
        node = soak.random.choice(nodes)
        soak.note(node.GetName())
        slicer.mrmlScene.RemoveNode(node)


def rename(soak):
    """Rename a node and a segment, as in the Data module."""
    nodes = listed()
    if nodes:
        node = soak.random.choice(nodes)
        node.SetName(f"Renamed {len(soak.done)}")
        if node.IsA("vtkMRMLSegmentationNode") and node.GetSegmentation().GetNumberOfSegments():
            node.GetSegmentation().GetNthSegment(0).SetName(f"Segment {len(soak.done)}")


def save(soak):
    """Save the scene."""
    path = soak.folder / f"scene{len(soak.scenes)}.mrb"
    assert slicer.util.saveScene(str(path))
    soak.scenes.append(path)


def load(soak):
    """Load a scene that was saved, instead of this one.

    Not beside it: MRML cannot always merge the subject hierarchies of scenes that hold merged scenes themselves.
    """
    if not soak.scenes:
        return save(soak)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(soak.random.choice(soak.scenes)))
    return None


def close_scene(soak):
    """Close the scene."""
    slicer.mrmlScene.Clear(0)


def leave(soak):
    """Leave the module and come back."""
    widget = soak.module.widgetRepresentation()
    widget.exit()
    soak.settle()
    widget.enter()


def reload_module(soak):
    """Reload the module, as a developer does."""
    slicer.util.reloadScriptedModule("DeepVsClassicReg")
    soak.arm()


def layout(soak):
    """Change the layout of the views."""
    node = slicer.vtkMRMLLayoutNode
    kinds = [node.SlicerLayoutFourUpView, node.SlicerLayoutOneUpRedSliceView, node.SlicerLayoutFourUpPlotView]
    slicer.app.layoutManager().setLayout(soak.random.choice(kinds))


ACTIONS = {
    buttons: 20, look: 20, choices: 8, tabs: 4, numbers: 8, engine: 6, links: 3, pick: 4, register: 5, complete: 8,
    advance: 8, delete_node: 4, rename: 3, save: 2, load: 2, close_scene: 1, leave: 2, reload_module: 1, layout: 2,
}  # fmt: skip
# What leaves the program, what is kept on purpose, and what belongs to Qt.
ELSEWHERE = {"openFolderButton", "keepFilesCheck", "qt_tableview_cornerbutton"}


def usable(soak, kind):
    """Return the widgets of a kind that the user could use now, were every section open."""
    root = soak.module.widgetRepresentation()
    current = {id(widget) for widget in vars(soak.ui).values()}
    return [
        widget
        for widget in root.findChildren(kind)
        if widget.enabled and not hidden(widget) and (id(widget) in current or widget.objectName.startswith("setting"))
        and widget.objectName not in ELSEWHERE
    ]  # fmt: skip


def hidden(widget):
    """Return whether a widget is hidden by the panel, not only by a closed section."""
    return widget.isHidden() and not hasattr(widget.parent(), "collapsed")


def listed():
    """Return the nodes that the Data module lists."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    nodes = map(slicer.mrmlScene.GetNthNode, range(slicer.mrmlScene.GetNumberOfNodes()))
    return [node for node in nodes if hierarchy.GetItemByDataNode(node)]
