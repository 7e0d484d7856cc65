"""What an engine finds beside the transform comes into the scene whatever it is, and goes with its run."""

from __future__ import annotations

import copy
import dataclasses

import mrml_helpers as helpers
import numpy as np
import slicer
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.result import Extra
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from DeepVsClassicRegLib.mrml.geometry import array_of, grid_of
from DeepVsClassicRegLib.mrml.runs import forget_run

GRID = Grid((10, 9, 8), (4.0, 4.0, 4.0), (-20.0, 3.0, 5.0))
VALUES = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
EXTRAS = (
    Extra("doubt", "Doubt", Volume(VALUES, GRID), unit="mm"),
    Extra("seen", "Seen", Volume(VALUES, GRID), kind="image"),
    Extra("parts", "Parts", LabelMap((VALUES > 0.5).astype(np.int32), GRID), kind="labels"),
    Extra("backward", "Backward", Transform((Affine.shift((1.0, 2.0, 3.0)),)), kind="transform"),
)


def test_extras_are_published_and_removed_with_their_run(nodes, result):
    found = copy.copy(result)
    found.result = dataclasses.replace(result.result, extras=EXTRAS)
    parameters = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")
    run = helpers.publish_truth(nodes, found, parameter_node=parameters)
    doubt, seen, parts, backward = run.extras
    assert [node.GetName().split()[-1] for node in run.extras] == ["Doubt", "Seen", "Parts", "Backward"]
    for node in (doubt, seen):
        assert np.array_equal(array_of(node), VALUES)
        assert grid_of(node).same_as(GRID)
    assert parts.GetSegmentation().GetNumberOfSegments() == 1
    # The shift maps fixed to moving LPS points; RAS flips its first two components.
    assert np.allclose(backward.GetTransformFromParent().TransformPoint((0.0, 0.0, 0.0)), (-1.0, -2.0, 3.0))
    identities = [node.GetID() for node in run.extras]
    forget_run(parameters, run, delete_outputs=True)
    assert all(slicer.mrmlScene.GetNodeByID(identity) is None for identity in identities)


def test_most_engines_find_nothing_more(nodes, result):
    assert helpers.publish_truth(nodes, result).extras == []
