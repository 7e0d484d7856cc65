"""Several engines with presets, written 'a,b:preset', checked against the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..choice import Choice
from ..errors import SettingsError
from ..settings import make_settings
from .catalogue import get_engine


def parse_choices(text: str, *, settings: Mapping[str, Any] | None = None) -> list[Choice]:
    """Return the engines of 'a,b:preset'.

    Parameters
    ----------
    text : str
        Engines, each optionally with a preset, separated by commas.
    settings : mapping, optional
        Settings changed from the preset, which are checked as well; with one engine only.

    Raises
    ------
    SettingsError
        When an engine, preset or setting does not exist, or an engine is given twice.
    """
    choices: list[Choice] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        choice = Choice.parse(part)
        if choice in choices:
            raise SettingsError(f"'{part}' is given twice.", hint="Give each engine and preset once.")
        make_settings(get_engine(choice.engine).info.settings, choice.engine, choice.preset, settings)
        choices.append(choice)
    if not choices:
        raise SettingsError("No engine is given.", hint="For example --engines elastix,sitk-demons.")
    if settings and len(choices) > 1:
        raise SettingsError("Settings can be changed for one engine only.", hint="Give one engine, or use presets.")
    return choices
