"""What the command line and the panel tell about a method."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from .base import Method


def method_facts(method: Method) -> dict[str, Any]:
    """Return a method as plain JSON values: kind, supervision, dimensions, parameters, stages, settings and paper.

    The number of parameters is that of the network with the default settings, in the most dimensions it supports.
    """
    info = method.info
    settings: Any = info.settings()
    example = method.fitted(settings, {1: "structure"})  # segmentation networks have none without labels
    with torch.random.fork_rng(devices=[]):
        network = method.network(example, dimensions=max(info.dimensions))
    return {
        "name": info.name,
        "title": info.title,
        "summary": info.summary,
        "kind": info.kind,
        "supervision": list(info.supervision),
        "dimensions": list(info.dimensions),
        "probabilistic": info.probabilistic,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "stages": [stage.name for stage in method.stages(settings)],
        "settings": {field.name: field.default for field in dataclasses.fields(settings)},
        "citation": info.citation,
    }
