"""The Slicer module: its description, a thin panel, the logic scripts call, and the in-application test."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

LIBRARY = "DeepVsClassicRegLib"
TESTS = "DeepVsClassicRegTestCases"
HOMEPAGE = "https://github.com/DeepVsClassicReg/SlicerDeepVsClassicReg"


class DeepVsClassicReg(ScriptedLoadableModule):
    """Describes the module; imports nothing large, because Slicer loads it at startup."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Deep vs Classic Registration")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        names = Path(__file__).parent / "Resources" / "contributors.txt"
        parent.contributors = names.read_text(encoding="utf-8").split("\n")[:-1]
        parent.helpText = _(
            "Registers a moving volume to a fixed volume with a classical method or a deep network, measures the "
            "quality of the result, and shows where to check it. Select both volumes and press Register."
        )
        parent.helpText += f' <a href="{HOMEPAGE}#readme">{_("How to use it")}</a>.'
        parent.acknowledgementText = _(
            "Please cite the papers on which this module is based:"
            "<ul>"
            "<li>R. Jena, D. Sethi, P. Chaudhari, J. C. Gee. <i>Deep Learning in Medical Image Registration: "
            "Magic or Mirage?</i> NeurIPS 37, 2024, doi:10.52202/079017-3439, arXiv:2408.05839.</li>"
            "<li>R. Jena, P. Chaudhari, J. Gee. <i>The LUMirage: An Independent Evaluation of Zero-Shot Performance in "
            "the LUMIR Challenge.</i> PMLR 315:4134-4165, 2026, arXiv:2512.15505.</li>"
            "<li>I. Grigorescu. <i>Deep Learning Registration, a Survey.</i> King's College London, 2019.</li>"
            "</ul>"
            "The report of a run names the paper of its engine."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", followScenes)
        slicer.app.connect("startupCompleted()", extendDataTree)


def registerSampleData():
    """Add the phantom pair to the Sample Data module."""
    from DeepVsClassicRegLib.mrml.sample_data import register_sample_data

    icon = Path(__file__).parent / "Resources" / "Icons" / "DeepVsClassicReg.png"
    register_sample_data(str(icon))


def followScenes():
    """Restore the views when a scene that was saved during a comparison is loaded."""
    slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, restoreViews)


def extendDataTree():
    """Add the module's entries to the context menu of the data tree."""
    if not hasattr(slicer, "qSlicerSubjectHierarchyScriptedPlugin"):
        return  # Slicer runs without its module SubjectHierarchy, and thus without a data tree
    plugin = slicer.qSlicerSubjectHierarchyScriptedPlugin(None)
    plugin.setPythonSource(str(Path(__file__).parent / LIBRARY / "ui" / "DeepVsClassicRegSubjectHierarchyPlugin.py"))


def restoreViews(caller, event):
    """Restore the views of a loaded scene as they were before the comparison."""
    from DeepVsClassicRegLib.mrml.memory import restore_loaded

    restore_loaded()


class DeepVsClassicRegWidget(ScriptedLoadableModuleWidget):
    """The module widget; contains the panel of `DeepVsClassicRegLib.ui`."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self.panel = None
        self._sceneTags = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from DeepVsClassicRegLib.ui.panel import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/DeepVsClassicReg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = DeepVsClassicRegLogic()
        self.panel = Panel(self.ui, self.logic.runner, Path(self.resourcePath("")))
        scene = slicer.mrmlScene
        self._sceneTags = [
            scene.AddObserver(scene.StartCloseEvent, self.onSceneStartClose),
            scene.AddObserver(scene.EndCloseEvent, self.onSceneEndClose),
            scene.AddObserver(scene.EndImportEvent, self.onSceneEndClose),
        ]

    def enter(self):
        """Show the settings stored in the scene; called each time the module is opened."""
        self.panel.set_parameter_node(self.logic.getParameterNode())
        self.panel.shortcuts.install()

    def exit(self):
        """Return control of the views and of the keyboard to the user."""
        if self.panel is not None:
            self.panel.shortcuts.remove()
            self.panel.qa.close(places=False)

    def useVolume(self, role, node):
        """Select a volume as 'fixed' or 'moving', also before the module was opened for the first time."""
        if self.panel.parameter_node is None:
            self.panel.set_parameter_node(self.logic.getParameterNode())
        self.panel.inputs.use(role, node)

    def showMotion(self, node):
        """Open the section that corrects motion with a sequence, or that of a proxy node."""
        self.panel.show_motion(node)

    def cleanup(self):
        """Release all resources; called before the module is reloaded and when Slicer exits."""
        for tag in self._sceneTags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._sceneTags = []
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onSceneStartClose(self, caller, event):
        """Hold no node of a scene that goes away."""
        self.panel.set_parameter_node(None)

    def onSceneEndClose(self, caller, event):
        """Show the new scene, unless another module is open."""
        if getattr(self.parent, "isEntered", False):
            self.panel.set_parameter_node(self.logic.getParameterNode())

    def onReload(self):
        """Reload the library as well, so that developers see their changes."""
        self.cleanup()
        for name in [name for name in sys.modules if name.partition(".")[0] in (LIBRARY, TESTS)]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class DeepVsClassicRegLogic(ScriptedLoadableModuleLogic):
    """Registration from Python; runs in a background process, with or without the panel.

    Further nodes of the pair are passed by name: `fixedSegmentation`, `movingSegmentation`
    (segmentations or label maps), `fixedMask`, `movingMask`, `fixedExcluded`, `movingExcluded` (lesions, implants),
    `fixedRigid`, `movingRigid` (bodies that move rigidly, one per segment), `fixedLandmarks`, `movingLandmarks`
    (markups), `initialTransform`; the library's names (`fixed_labels`, ...) are accepted too. Of color and vector
    volumes the luminance is registered, or the channel given as `fixedChannel` and `movingChannel`, a number from 0.

    Examples
    --------
    >>> logic = slicer.util.getModuleLogic("DeepVsClassicReg")
    >>> run = logic.register(fixedNode, movingNode, engine="sitk-demons", seed=1)
    >>> run.warped.GetImageData().GetDimensions() == fixedNode.GetImageData().GetDimensions()
    True
    >>> run.measures["folding_percent"]
    0.0
    >>> advice = logic.recommend(fixedNode, movingNode, threads=1)
    >>> advice["engine"] in logic.engines()
    True
    >>> [reason["text"] for reason in advice["reasons"]]
    ['Classical optimization is ...]
    """

    NODE_NAMES = {
        "fixedSegmentation": "fixed_labels",
        "movingSegmentation": "moving_labels",
        "fixedMask": "fixed_mask",
        "movingMask": "moving_mask",
        "fixedExcluded": "fixed_excluded",
        "movingExcluded": "moving_excluded",
        "fixedRigid": "fixed_rigid",
        "movingRigid": "moving_rigid",
        "fixedLandmarks": "fixed_points",
        "movingLandmarks": "moving_points",
        "initialTransform": "initial",
    }
    CHANNELS = {"fixedChannel": "fixed_channel", "movingChannel": "moving_channel"}

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        from DeepVsClassicRegLib.ui.console import Console
        from DeepVsClassicRegLib.ui.runner import Runner

        self.runner = Runner()
        self._console = Console(self.runner, self.getParameterNode)

    def register(
        self,
        fixedNode,
        movingNode,
        engine="",
        preset="default",
        settings=None,
        *,
        wait=True,
        seed=0,
        device="auto",
        threads=0,
        transformNode=None,
        warpedNode=None,
        outputs=None,
        **nodes,
    ):
        """Register the moving volume to the fixed volume.

        :param fixedNode: reference volume.
        :param movingNode: volume that is registered to it.
        :param engine: name from `engines()`; empty selects the best installed engine.
        :param preset: name of one of its presets.
        :param settings: dictionary of settings that differ from the preset.
        :param wait: wait for the finished run; False returns a handle immediately, see below.
        :param seed: seed of the random number generators.
        :param device: 'auto', 'cpu', 'cuda' or 'mps'.
        :param threads: maximum number of CPU threads, 0 for all cores.
        :param transformNode: transform node to overwrite; None creates a new one.
        :param warpedNode: volume node to overwrite; None creates a new one.
        :param outputs: some of 'transform', 'warped', 'warped_labels', 'jacobian', 'report_table'; all when None.
        :param nodes: further nodes of the pair, see the class.
        :return: the run with its nodes (`transform`, `warped`, `warped_labels`, `jacobian`, `report_table`),
            `measures`, `measures_before` and `report`; with wait=False a handle with `fraction`, `stage`,
            `on_progress(f)`, `on_finished(f)`, `cancel()` and `wait()`.
        :raises RegistrationError: when nodes or settings are invalid; `.hint` says what to do.
        """
        from DeepVsClassicRegLib.core.device import Compute
        from DeepVsClassicRegLib.mrml.outputs import WANTED, Targets

        handle = self._console.queue(
            self._inputs(fixedNode, movingNode, nodes),
            [(engine, preset, settings or {})],
            targets=Targets(
                transform=transformNode, warped=warpedNode, wanted=frozenset(WANTED if outputs is None else outputs)
            ),
            compute=Compute(device=device, threads=threads, seed=seed),
        )
        return handle.wait()[0] if wait else handle

    def repair(
        self, run, fixedLandmarks, movingLandmarks, *, settings=None, wait=True, seed=0, device="auto", threads=0
    ):
        """Register again around corresponding landmarks, starting from a run; the rest does not change.

        :param run: run whose transform is wrong near the landmarks.
        :param fixedLandmarks: points in the fixed volume.
        :param movingLandmarks: the same points in the moving volume, in the same order.
        :param settings: dictionary of settings that differ from preset 'repair' of engine 'instance', such as
            'landmark_region' (40).
        :return: the new run, whose `base` is the given one, or a handle with wait=False; see `register`.
        """
        from DeepVsClassicRegLib.core.device import Compute

        compute = Compute(device=device, threads=threads, seed=seed)
        handle = self._console.repair(run, fixedLandmarks, movingLandmarks, settings or {}, compute)
        return handle.wait()[0] if wait else handle

    def compare(self, fixedNode, movingNode, engines, *, wait=True, seed=0, device="auto", threads=0, **nodes):
        """Run several engines on the same pair, one after another.

        :param engines: engine names, each optionally with a preset: ["elastix", "sitk-demons:paper"].
        :return: the runs in the order of `engines`, or a handle with wait=False; other parameters as in `register`.
        """
        from DeepVsClassicRegLib.core.device import Compute
        from DeepVsClassicRegLib.core.settings import Choice

        choices = [Choice.parse(entry) for entry in engines]
        handle = self._console.queue(
            self._inputs(fixedNode, movingNode, nodes),
            [(choice.engine, choice.preset, {}) for choice in choices],
            compute=Compute(device=device, threads=threads, seed=seed),
        )
        return handle.wait() if wait else handle

    def recommend(
        self,
        fixedNode,
        movingNode,
        *,
        timeBudget=None,
        trainingLabels=0,
        representative=None,
        labels=None,
        wait=True,
        device="auto",
        threads=0,
        **nodes,
    ):
        """Recommend an engine for a pair, with expected quality and reasons, without registering it.

        :param timeBudget: maximum time of one registration in seconds.
        :param trainingLabels: number of segmented cases available for training a network.
        :param representative: whether these resemble this pair (scanner, protocol, labeling); None when unknown.
        :param labels: numbers of the labels of interest; all when None.
        :return: dictionary with the keys `engine`, `preset`, `runner_up`, `sure`, `headline`, `reasons`,
            `mutual_information`, `predicted_dice`, `seconds`, `domain`, `limits` and `plot`; with wait=False a handle
            with `fraction`, `stage`, `on_finished(f)`, `cancel()` and `wait()`.
        :raises RegistrationError: when the pair cannot be registered at all; `.hint` says what to do.
        """
        from DeepVsClassicRegLib.core.device import Compute

        options = {
            "time_budget_s": timeBudget,
            "training_labels": trainingLabels,
            "representative": representative,
            "labels": None if labels is None else [int(label) for label in labels],
        }
        answer = self._console.recommend(
            self._inputs(fixedNode, movingNode, nodes), options, Compute(device=device, threads=threads)
        )
        return answer.wait() if wait else answer

    def evaluate(self, fixedNode, movingNode, transformNode, *, wait=True, threads=0, **nodes):
        """Measure how well a transform, from any module, aligns the moving volume with the fixed volume.

        :param transformNode: applied to the moving volume, it aligns that volume with the fixed one.
        :return: {'before': measures, 'after': measures}, names as in `DeepVsClassicRegLib.core.evaluation.measures`;
            with wait=False a handle as in `recommend`.
        """
        from DeepVsClassicRegLib.core.device import Compute

        inputs = self._inputs(fixedNode, movingNode, {**nodes, "initial": transformNode})
        answer = self._console.evaluate(inputs, Compute(threads=threads))
        return answer.wait() if wait else answer

    def apply(self, transform, nodes, *, to="fixed", harden=True, labels="nearest", reference=None):
        """Bring nodes to one side of a registration.

        :param transform: a run, or a transform node that aligns the moving with the fixed volume.
        :param nodes: volumes, segmentations, models and markups, or subject hierarchy items (numbers); folders stand
            for everything in them.
        :param to: 'fixed' brings nodes of the moving side to the fixed side, 'moving' vice versa.
        :param harden: True creates new nodes with the transform applied; False places the nodes under the transform.
        :param labels: interpolation of segmentations, 'nearest' or 'smooth'.
        :param reference: volume of the side `to`, whose grid images get; None for the registered one.
        :return: one entry per node with `source`, `node` (None when refused), `notes` (folds, extrapolation, what lies
            outside of the volume) and `refusal`.
        :raises RegistrationError: when there is nothing to apply; `.hint` says what to do.
        """
        from DeepVsClassicRegLib.mrml.apply import apply_transform, nodes_in
        from DeepVsClassicRegLib.mrml.runs import Run

        if isinstance(transform, Run):
            reference = reference or transform.need(to)
            transform = transform.need("transform")
        found = []
        for node in nodes:
            found += nodes_in([node]) if isinstance(node, int) else [node]
        return apply_transform(transform, found, to=to, harden=harden, interpolation=labels, reference=reference)

    def saveDicom(self, transform, path, *, fixedNode=None, movingNode=None):
        """Write a registration as DICOM Spatial Registration or Deformable Spatial Registration object.

        :param transform: a run, or a transform node that aligns the moving with the fixed volume.
        :param path: file to write.
        :param fixedNode: fixed volume, loaded from DICOM; None for the registered one. Likewise `movingNode`.
        :return: `kind` of the object and `difference_mm`, the largest difference when it is read back.
        """
        from DeepVsClassicRegLib.mrml.dicom import save_dicom
        from DeepVsClassicRegLib.mrml.runs import Run

        node = transform.need("transform") if isinstance(transform, Run) else transform
        return save_dicom(node, Path(path), fixed=fixedNode, moving=movingNode)

    def loadTransform(self, path):
        """Load a transform file of any supported program, DICOM registrations included, and return its node."""
        from DeepVsClassicRegLib.mrml.dicom import load_transform

        return load_transform(Path(path))

    def train(
        self,
        volumes=(),
        segmentations=(),
        *,
        data="",
        name="",
        model="",
        method="",
        supervision="",
        hours=2.0,
        options=None,
        wait=True,
        device="auto",
        threads=0,
        seed=0,
    ):
        """Train a network on cases, or adapt a model to them, in the background process.

        :param volumes: volume nodes, at least four; or use `data`.
        :param segmentations: the segmentation (or label map) node of each volume; empty to learn from images only.
        :param data: a folder, CSV or JSON of cases instead of nodes, as for `dvcreg train --data`.
        :param name: name of the new model.
        :param model: name of a model to adapt; empty trains a new network.
        :param method: name from `dvcreg methods`; empty selects the default for the supervision.
        :param supervision: 'labels' or 'none'; by default labels when there are segmentations.
        :param hours: length of the training.
        :param options: dictionary of further entries of `core.training.options.TrainingOptions`.
        :param wait: wait for the model; False returns a handle with `fraction`, `stage`, `cancel()` (with a
            checkpoint), `finish()` (keeps the best weights so far) and `wait()`.
        :return: the name of the model, for `register(..., engine="network", settings={"model": name})`.
        :raises RegistrationError: when cases or options are not usable; `.hint` says what to do.
        """
        from DeepVsClassicRegLib.core.device import Compute
        from DeepVsClassicRegLib.ui.training_task import new_training

        request = new_training(
            list(volumes),
            list(segmentations),
            data=str(data),
            name=name,
            model=model,
            method=method,
            supervision=supervision,
            hours=hours,
            options=options or {},
            compute=Compute(device=device, threads=threads, seed=seed),
        )
        handle = self._console.train(request)
        return handle.wait() if wait else handle

    def resumeTraining(self, name, *, hours=0.0, wait=True, device="auto", threads=0):
        """Continue a training that was stopped, also by the end of Slicer.

        :param name: one of `trainings()`.
        :param hours: new total time; 0 keeps the former one.
        :return: as for `train`.
        """
        from DeepVsClassicRegLib.core.device import Compute
        from DeepVsClassicRegLib.ui.training_task import resumed_training

        request = resumed_training(name, hours=hours, compute=Compute(device=device, threads=threads))
        handle = self._console.train(request)
        return handle.wait() if wait else handle

    def trainings(self):
        """Return name -> state of the trainings in the user's folder: 'running', 'paused', 'finished', ..."""
        from DeepVsClassicRegLib.core.training.folders import find_trainings

        return {entry.name: entry.state for entry in find_trainings()}

    def engines(self):
        """Return name -> title of the installed engines."""
        from DeepVsClassicRegLib.ui.dependencies import engine_availability

        return {entry.info.name: entry.info.title for entry in engine_availability() if entry.ready}

    def runs(self):
        """Return the runs of this scene, oldest first."""
        from DeepVsClassicRegLib.mrml.runs import runs

        return runs(self.getParameterNode())

    def _inputs(self, fixedNode, movingNode, nodes):
        from DeepVsClassicRegLib.mrml.inputs import Inputs

        return Inputs(
            fixed=fixedNode,
            moving=movingNode,
            **{self.CHANNELS[name]: str(nodes[name]) for name in nodes if name in self.CHANNELS},
            **{self.NODE_NAMES.get(name, name): node for name, node in nodes.items() if name not in self.CHANNELS},
        )


class DeepVsClassicRegTest(ScriptedLoadableModuleTest):
    """Runs the test cases of Testing/Python, which also run outside of Slicer."""

    def runTest(self):
        import unittest

        folder = str(Path(slicer.util.modulePath("DeepVsClassicReg")).parent / "Testing" / "Python")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        import DeepVsClassicRegTestCases

        suite = unittest.defaultTestLoader.loadTestsFromModule(DeepVsClassicRegTestCases)
        outcome = unittest.TextTestRunner(verbosity=2).run(suite)
        self.assertTrue(outcome.wasSuccessful(), f"{len(outcome.failures) + len(outcome.errors)} tests failed")
