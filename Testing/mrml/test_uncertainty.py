"""The uncertainty map of a network comes into the scene on its own grid, and goes with its run."""

from __future__ import annotations

import copy
import dataclasses

import mrml_helpers as helpers
import numpy as np
import slicer
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.mrml.geometry import array_of, grid_of
from DeepVsClassicRegLib.mrml.outputs import WANTED, Targets
from DeepVsClassicRegLib.mrml.runs import forget_run

GRID = Grid((10, 9, 8), (4.0, 4.0, 4.0), (-20.0, 3.0, 5.0))


def with_uncertainty(result):
    doubt = Volume(np.random.default_rng(0).random(GRID.shape), GRID, "uncertainty mm")
    found = copy.copy(result)
    found.result = dataclasses.replace(result.result, uncertainty=doubt)
    return found, doubt


def test_uncertainty_is_published_and_removed_with_its_run(nodes, result):
    found, doubt = with_uncertainty(result)
    parameters = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")
    run = helpers.publish_truth(nodes, found, parameter_node=parameters)
    node = run.node("uncertainty")
    assert np.array_equal(array_of(node), doubt.array)
    assert grid_of(node).same_as(GRID)
    assert node.GetName() == "uncertainty truth"
    identity = node.GetID()
    forget_run(parameters, run, delete_outputs=True)
    assert slicer.mrmlScene.GetNodeByID(identity) is None


def test_uncertainty_is_left_out_when_not_wanted_or_not_there(nodes, result):
    found, _ = with_uncertainty(result)
    without = helpers.publish_truth(nodes, found, targets=Targets(wanted=WANTED - {"uncertainty"}))
    assert without.node("uncertainty") is None
    assert helpers.publish_truth(nodes, result).node("uncertainty") is None
