"""The linear alignment that compared engines share: the first run of a pair finds it, the others start from it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from ..core.job import OUTPUT_FOLDER, SHARE_START, START


class SharedStart:
    """What the runs of one comparison hand on; lives in memory, so no file outlasts its run.

    The methods but `take` may be called in a thread.
    """

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._entry: Mapping[str, Any] = {}
        self._content = b""

    def options(self, folder: Path, seen: Hashable) -> dict[str, Any]:
        """Write the alignment into a job folder, if it is known for these inputs, and return the job's options."""
        if not self._content or seen != self._seen:
            return {SHARE_START: True}
        (folder / self._entry["file"]).write_bytes(self._content)
        return {START: self._entry}

    def read(self, folder: Path, result: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes] | None:
        """Return what a finished run hands over."""
        entry = result.get(START)
        return (entry, (folder / OUTPUT_FOLDER / entry["file"]).read_bytes()) if entry else None

    def take(self, found: tuple[Mapping[str, Any], bytes] | None, seen: Hashable) -> None:
        """Keep what a run of these inputs handed over."""
        if found is not None:
            (self._entry, self._content), self._seen = found, seen
