"""A scripted module small enough to read, using what a registration panel uses; test data of the stand-in."""

import logging

import ctk
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *  # noqa: F403
from slicer.util import VTKObservationMixin


class TinyModule(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Tiny module")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = ["Volumes"]
        self.parent.contributors = ["A Tester"]
        self.parent.helpText = _("Blends two volumes.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Tiny", sampleName="TinyPair", uris=[], fileNames=[], nodeNames=[],
        customDownloader=lambda source: [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Tiny")],
    )  # fmt: skip


class TinyModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.events = []

    def setup(self):
        super().setup()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/TinyModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyModuleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.timer = qt.QTimer()
        self.timer.setInterval(5)
        self.timer.connect("timeout()", self.onTimer)
        self.extra = ctk.ctkSliderWidget()
        self.layout.addWidget(self.extra)
        self.onInputChanged(self.ui.inputSelector.currentNode())

    def cleanup(self):
        self.timer.stop()
        self.removeObservers()
        self.events.append("cleanup")

    def enter(self):
        self.events.append("enter")
        self.parameterNode = self.logic.getParameterNode()

    def exit(self):
        self.events.append("exit")

    def onSceneStartClose(self, caller, event):
        self.events.append("startClose")
        self.parameterNode = None

    def onSceneEndClose(self, caller, event):
        self.events.append("endClose")
        if self.parent.isEntered:
            self.parameterNode = self.logic.getParameterNode()

    def onInputChanged(self, node):
        self.ui.applyButton.enabled = node is not None
        self.ui.applyButton.toolTip = "" if node else _("Select an input volume")
        self.ui.statusLabel.text = node.GetName() if node else _("No input")

    def onOpacity(self, value):
        self.events.append(("opacity", round(value, 3)))

    def onTimer(self):
        self.events.append("tick")

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Failed."), waitCursor=True):
            self.logic.process(self.ui.inputSelector.currentNode(), self.ui.outputSelector.currentNode())


class TinyModuleLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    def process(self, inputNode, outputNode):
        if outputNode is None:
            raise ValueError("Output volume is missing")
        logging.info("Inverting")
        array = slicer.util.arrayFromVolume(inputNode)
        slicer.util.updateVolumeFromArray(outputNode, array.max() - array)
        matrix = vtk.vtkMatrix4x4()
        inputNode.GetIJKToRASMatrix(matrix)
        outputNode.SetIJKToRASMatrix(matrix)


class TinyModuleTest(ScriptedLoadableModuleTest):  # noqa: F405
    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        self.setUp()
        self.test_process()

    def test_process(self):
        import numpy as np

        node = slicer.util.addVolumeFromArray(np.arange(24.0).reshape(2, 3, 4))
        output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        logic = slicer.util.getModuleLogic("TinyModule")
        logic.process(node, output)
        self.assertEqual(slicer.util.arrayFromVolume(output)[0, 0, 0], 23.0)
        self.delayDisplay("Test passed")
