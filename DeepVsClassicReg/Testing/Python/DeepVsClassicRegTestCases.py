"""Test cases that run inside Slicer (ctest, Reload and Test); the stand-in runs the very same."""

import json
import tempfile
import time
import unittest
from pathlib import Path

import slicer

TIMEOUT_S = 300


class DeepVsClassicRegTestCases(unittest.TestCase):
    """What a user does: pick, register, look, save and load, and the same from Python."""

    def setUp(self):
        """Begin with an empty scene and panel."""
        slicer.mrmlScene.Clear(0)
        self.module = slicer.modules.deepvsclassicreg.widgetRepresentation().self()
        self.logic = self.module.logic
        self.panel = self.module.panel
        self.advised = self.panel.ui.adviseCheck.checked
        self.panel.ui.adviseCheck.checked = False
        self.panel.set_parameter_node(self.logic.getParameterNode())

    def tearDown(self):
        """Leave nothing running and nothing in the scene."""
        self.panel.advice.stop()
        self.panel.runner.cancel()
        self.waitUntil(lambda: not self.panel.runner.busy)
        self.panel.ui.adviseCheck.checked = self.advised
        self.panel.qa.close()
        slicer.mrmlScene.Clear(0)

    def waitUntil(self, condition):
        """Let Slicer handle events until a condition holds."""
        end = time.time() + TIMEOUT_S
        while not condition():
            self.assertLess(time.time(), end, "it takes too long")
            slicer.app.processEvents()
            time.sleep(0.01)

    def loadPair(self):
        """Add a small phantom pair."""
        from DeepVsClassicRegLib.mrml.sample_data import load_phantom_pair

        return load_phantom_pair(size=24)

    def pickPair(self):
        """Pick the phantom pair through the selectors."""
        nodes = self.loadPair()
        ui = self.panel.ui
        ui.fixedSelector.setCurrentNode(nodes.fixed)
        ui.movingSelector.setCurrentNode(nodes.moving)
        ui.fixedPointsSelector.setCurrentNode(nodes.fixed_points)
        ui.movingPointsSelector.setCurrentNode(nodes.moving_points)
        ui.engineCombo.currentIndex = ui.engineCombo.findData("sitk-demons")
        ui.threadsSpin.value = 1
        self.waitUntil(lambda: ui.registerButton.enabled)
        return nodes

    def test_nothing_picked(self):
        """The button waits and says for what."""
        self.panel.validate()
        self.assertFalse(self.panel.ui.registerButton.enabled)
        self.assertIn("fixed volume", self.panel.ui.registerButton.toolTip)

    def test_register_and_look(self):
        """One press registers in the background; the result is shown and judged."""
        nodes = self.pickPair()
        ui = self.panel.ui
        ui.registerButton.click()
        self.assertEqual(ui.registerButton.text, "Cancel")
        self.waitUntil(lambda: not self.panel.busy)
        run = self.panel.results.run
        self.assertIsNotNone(run, ui.stageLabel.text)
        self.assertEqual(run.warped.GetImageData().GetDimensions(), nodes.fixed.GetImageData().GetDimensions())
        self.assertLess(run.measures["tre_mm_mean"], run.measures_before["tre_mm_mean"])
        role = run.transform.GetMovingNodeReferenceRole()
        self.assertEqual(run.transform.GetNodeReferenceID(role), nodes.moving.GetID())
        for button in (ui.checkerboardButton, ui.jacobianButton, ui.contoursButton):
            button.click()
            self.waitUntil(lambda: not self.panel.busy)
        ui.closeViewButton.click()

    def test_cancel(self):
        """Cancel ends the run and changes nothing."""
        self.pickPair()
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.panel.ui.registerButton.click()
        self.waitUntil(lambda: self.panel.runner.current.state == "computing")
        self.panel.ui.registerButton.click()
        self.waitUntil(lambda: not self.panel.busy)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_save_and_load(self):
        """A saved scene brings the picks and the settings back."""
        self.pickPair()
        ui = self.panel.ui
        ui.seedSpin.value = 4
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
        self.panel.set_parameter_node(self.logic.getParameterNode())
        self.assertIsNotNone(ui.fixedSelector.currentNode())
        self.assertEqual(ui.seedSpin.value, 4)
        self.assertEqual(ui.engineCombo.currentData, "sitk-demons")

    def test_console(self):
        """The logic gives nodes and measures, in the frame of Slicer."""
        nodes = self.loadPair()
        logic = slicer.util.getModuleLogic("DeepVsClassicReg")
        run = logic.register(nodes.fixed, nodes.moving, engine="linear", threads=1)
        json.dumps(run.report)
        nodes.moving.SetAndObserveTransformNodeID(run.transform.GetID())
        self.assertEqual(nodes.moving.GetParentTransformNode(), run.transform)
        self.assertEqual(run.engine, "linear")

    def test_advice(self):
        """The advice comes from the background, and one click takes it."""
        self.pickPair()
        ui = self.panel.ui
        ui.askButton.click()
        self.waitUntil(lambda: not self.panel.advice.asking)
        self.assertIsNotNone(self.panel.advice.advice, ui.adviceLabel.text)
        ui.useAdviceButton.click()
        self.assertEqual(ui.engineCombo.currentData, self.panel.advice.advice["engine"])
        self.assertTrue(ui.reasonsLabel.text)
