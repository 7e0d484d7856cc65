"""A list of named objects that are imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .errors import SettingsError, did_you_mean


class Registry(dict[str, str]):
    """Name -> 'module:attribute' (or 'module' for a module itself), imported when it is loaded.

    Parameters
    ----------
    package : str
        The package that the modules belong to (`__package__` of the caller).
    unknown : str
        The message for an unknown name: "There is no engine '{name}'."
    entries : mapping of str to str
        The list; entries can be added later as in any dictionary.

    Examples
    --------
    >>> Registry("json", "There is no coder '{name}'.", {"decoder": "decoder:JSONDecoder"}).load("decoder").__name__
    'JSONDecoder'
    """

    def __init__(self, package: str | None, unknown: str, entries: Mapping[str, str]) -> None:
        super().__init__(entries)
        self._package, self._unknown = package, unknown

    def load(self, name: str) -> Any:
        """Return the object of a name.

        Raises
        ------
        SettingsError
            When there is no such name.
        """
        if name not in self:
            raise SettingsError(self._unknown.format(name=name), hint=did_you_mean(name, self))
        module, _, attribute = self[name].partition(":")
        found = importlib.import_module(f".{module}", self._package)
        return getattr(found, attribute) if attribute else found
