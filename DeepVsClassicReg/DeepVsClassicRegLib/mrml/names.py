"""Node names that are valid file names on all systems and fit into the corner of a slice view."""

from __future__ import annotations

import re

# Characters that Windows forbids in file names; Slicer names the files of a scene after its nodes.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')
# Slicer shortens 'F: NAME (50%)' beyond 35 characters; two are reserved for the number of a repeated name.
CORNER_LENGTH = 24


def file_safe(text: str) -> str:
    """Return a name without characters that file systems forbid and without a trailing dot or blank.

    Examples
    --------
    >>> file_safe('T1: "MPRAGE" <axial> 3/4.')
    'T1 MPRAGE axial 3 4'
    """
    return " ".join(FORBIDDEN.sub(" ", text).split()).rstrip(". ")


def shortened(text: str, length: int) -> str:
    """Return as many leading words as fit into a length; an empty text when the first one does not fit.

    Examples
    --------
    >>> shortened("Phantom head moving", 12)
    'Phantom head'
    """
    kept = ""
    for word in text.split():
        longer = f"{kept} {word}".strip()
        if len(longer) > length:
            break
        kept = longer
    return kept


def output_name(moving: str, what: str, engine: str) -> str:
    """Return the name of an output: the moving volume if there is room, the kind of output, and the engine.

    Examples
    --------
    >>> output_name("Phantom head moving", "warped", "sitk-demons")
    'warped sitk-demons'
    >>> output_name("MR 2", "warped", "elastix")
    'MR 2 warped elastix'
    """
    what, engine = file_safe(what), file_safe(engine)
    room = CORNER_LENGTH - len(f" {what} {engine}")
    return f"{shortened(file_safe(moving), room)} {what} {engine}".strip()
