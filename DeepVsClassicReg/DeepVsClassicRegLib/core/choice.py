"""Choice: an engine with a preset, written 'engine' or 'engine:preset'."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "default"


@dataclass(frozen=True)
class Choice:
    """An engine and one of its presets.

    Attributes
    ----------
    engine, preset : str
        Their names.

    Examples
    --------
    >>> Choice.parse("ants:quick")
    Choice(engine='ants', preset='quick')
    >>> str(Choice("ants")), str(Choice("ants", "quick"))
    ('ants', 'ants:quick')
    """

    engine: str
    preset: str = DEFAULT

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Parse 'engine' or 'engine:preset'; the preset is 'default' when omitted."""
        engine, _, preset = text.partition(":")
        return cls(engine, preset or DEFAULT)

    def __str__(self) -> str:
        """Return 'engine:preset', or 'engine' alone for its default preset."""
        return self.engine if self.preset in ("", DEFAULT) else f"{self.engine}:{self.preset}"
