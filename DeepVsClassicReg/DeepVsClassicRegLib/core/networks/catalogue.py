"""The list of learned methods: name -> where its class is. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from ..errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from .base import Method

METHODS = {
    "voxelmorph": "voxelmorph:VoxelMorph",
    "voxelmorph-diff": "voxelmorph_diff:VoxelMorphDiff",
    "synthmorph": "synthmorph:SynthMorph",
}


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(METHODS)


def get_method(name: str) -> Method:
    """Return a method by name (imports torch).

    Raises
    ------
    SettingsError
        When there is no method of this name.
    """
    if name not in METHODS:
        raise SettingsError(f"There is no method '{name}'.", hint=did_you_mean(name, METHODS))
    module, _, kind = METHODS[name].partition(":")
    return cast("Method", getattr(importlib.import_module(f".{module}", __package__), kind)())
