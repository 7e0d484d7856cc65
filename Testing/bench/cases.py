"""The pairs of a benchmark: read from a folder's manifest.json (paths relative to the folder)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from DeepVsClassicRegLib.core.api import load_pair
from DeepVsClassicRegLib.core.pair import Pair


@dataclass(frozen=True)
class Case:
    """One pair of the manifest.

    Attributes
    ----------
    name, kind : str
        Identifier and what kind of pair it is.
    files : dict
        Keywords of `load_pair`.
    labels : tuple of int or None
        The labels to score, all shared ones when None.
    """

    name: str
    kind: str
    files: dict[str, Path]
    labels: tuple[int, ...] | None

    @property
    def group(self) -> str:
        """The data set the pair belongs to: the folder of its fixed volume."""
        return self.files["fixed"].parent.name

    def load(self) -> Pair:
        """Read the pair."""
        return load_pair(**self.files)

    def finer(self) -> Case | None:
        """Return the same pair with its whole-brain manual labels, where the folder has them."""
        changed = {
            key: path.with_name(path.name.replace("_fs.", "_neuromorph."))
            for key, path in self.files.items()
            if key.endswith("_labels")
        }
        if not changed or any(path == self.files[key] or not path.is_file() for key, path in changed.items()):
            return None
        return Case(self.name, self.kind, {**self.files, **changed}, None)


def read_cases(folder: Path, *, only: str = "") -> list[Case]:
    """Return the cases of `folder`/manifest.json whose name contains `only`."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    cases = [_case(folder, entry) for entry in entries]
    return [case for case in cases if only in case.name]


def _case(folder: Path, entry: dict) -> Case:
    keys = {
        "fixed": "fixed",
        "moving": "moving",
        "fixed_labels": "fixed_label",
        "moving_labels": "moving_label",
        "fixed_points": "landmarks",
        "moving_points": "landmarks",
    }
    files = {ours: folder / entry[theirs] for ours, theirs in keys.items() if entry.get(theirs)}
    return Case(entry["id"], entry["kind"], files, tuple(entry["labels"]) if entry.get("labels") else None)
