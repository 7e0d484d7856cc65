"""User errors; every other exception is a bug and is not caught."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RegistrationError(Exception):
    """A problem with the user's input, files, settings or machine.

    Parameters
    ----------
    message : str
        What is wrong, with the given and the expected value.
    hint : str
        What to do about it, in one sentence; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class GeometryError(RegistrationError):
    """A volume or grid whose geometry is not supported."""


class FileError(RegistrationError):
    """A file that cannot be read or written."""


class SettingsError(RegistrationError):
    """A setting, preset or engine name that does not exist or is out of range."""


class EngineUnavailable(RegistrationError):
    """An engine whose package or program is not installed."""


class EngineFailed(RegistrationError):
    """A back end that ended without a result; the hint explains its message."""


class Cancelled(Exception):
    """The user canceled; not an error."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the closest known names, or all of them.

    Parameters
    ----------
    name : str
        What the user typed.
    known : iterable of str
        The valid names.

    Examples
    --------
    >>> did_you_mean("elastx", ["elastix", "ants"])
    "Did you mean 'elastix'?"
    >>> did_you_mean("zzz", ["elastix", "ants"])
    'Known: ants, elastix.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(names)}."
