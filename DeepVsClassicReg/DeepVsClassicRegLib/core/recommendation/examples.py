"""Measured pairs for the calibration: joins the runs of a benchmark with the volumes of its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import read_any_json, read_json_lines
from ..images.io import read_labels, read_volume
from ..result import DOUBTFUL_CONFIDENCE
from .calibration import label_points
from .fitting import Example
from .mutual_information import mutual_information
from .runtime import EngineSeconds, fit_seconds

MULTIMODAL = "multi-modal"
MANIFEST = "manifest.json"


def read_runs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the finished runs of JSON-lines files; a later line of the same run replaces an earlier one.

    Raises
    ------
    FileError
        When a file is missing or not valid.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in paths:
        try:
            for run in read_json_lines(path):
                found[run["case"], run["group"], run["engine"]] = run
        except (KeyError, TypeError) as error:
            raise FileError(
                f"{path} is not a list of runs ({error!r}).",
                hint="Each line must be an object with 'case', 'group', 'engine', 'status' and 'dice'.",
            ) from error
    return [run for run in found.values() if run.get("status") == "done"]


def gather_examples(runs: Sequence[Mapping[str, Any]], folder: Path) -> tuple[list[Example], list[str]]:
    """Return the examples of a benchmark, and the skipped ones with reasons.

    Parameters
    ----------
    runs : sequence of mapping
        Lines of `runs.jsonl`: case, group (the dataset, or 'dataset/protocol' for other labels of the same images),
        engine, dice, optionally dice_per_label, fixed_label and moving_label (paths in `folder` that replace those of
        the manifest). The lines of the engine 'linear' contain the confidence of the alignment.
    folder : Path
        Folder of manifest.json.

    Raises
    ------
    FileError
        When the manifest is missing or a volume unreadable.
    """
    entries = read_manifest(folder)
    confidence = {run["case"]: run.get("confidence") for run in runs if run["engine"] == "linear"}
    scored = [run for run in runs if run.get("dice") is not None]
    left_out = []
    usable = []
    for case in dict.fromkeys(run["case"] for run in scored):
        reason = _unfit(entries.get(case), confidence.get(case))
        if reason:
            left_out.append(f"{case}: {reason}")
        else:
            usable.append(case)
    wanted = [run for run in scored if run["case"] in usable]
    measured = _Measured(folder)
    return [_example(run, entries[run["case"]], measured) for run in wanted], left_out


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the pairs of a folder's manifest.json by id.

    Raises
    ------
    FileError
        When it is missing or not valid.
    """
    path = folder / MANIFEST
    hint = "It must be a list of objects with 'id', 'fixed', 'moving', 'fixed_label' and 'moving_label'."
    content = read_any_json(path, what="the pairs in", hint=hint)
    try:
        return {entry["id"]: entry for entry in content}
    except (KeyError, TypeError) as error:
        raise FileError(f"Could not read the pairs in {path}: {error!r}.", hint=hint) from error


def _unfit(entry: Mapping[str, Any] | None, confidence: float | None) -> str:
    if entry is None:
        return "not in the manifest"
    if not entry.get("fixed_label") or not entry.get("moving_label"):
        return "no segmentations"
    if MULTIMODAL in str(entry.get("kind", "")):
        return "different contrasts, for which the relation is not valid"
    if confidence is not None and confidence < DOUBTFUL_CONFIDENCE:
        return f"uncertain linear alignment (confidence {confidence:.2f})"
    return ""


def gather_seconds(runs: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, EngineSeconds]:
    """Return the run time of every engine of a benchmark, from its CPU seconds and the sizes of the fixed volumes."""
    entries = read_manifest(folder)
    sizes: dict[str, int] = {}
    measured: dict[str, list[tuple[int, float, float]]] = {}
    for run in runs:
        entry = entries.get(run["case"])
        if entry is None or run.get("cpu_seconds") is None or run.get("seconds") is None:
            continue
        if entry["fixed"] not in sizes:
            sizes[entry["fixed"]] = read_volume(folder / entry["fixed"]).grid.voxel_count
        cost = (sizes[entry["fixed"]], float(run["cpu_seconds"]), float(run["seconds"]))
        measured.setdefault(str(run["engine"]), []).append(cost)
    return {entry: fit_seconds(costs) for entry, costs in sorted(measured.items())}


class _Measured:
    """Mutual information of image and segmentation files, each computed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, image: str, labels: str) -> dict[str, Any]:
        if (image, labels) not in self._known:
            found = mutual_information(read_volume(self._folder / image), read_labels(self._folder / labels))
            self._known[image, labels] = found.to_json()
        return self._known[image, labels]


def _example(run: Mapping[str, Any], entry: Mapping[str, Any], measured: _Measured) -> Example:
    fixed = measured.of(entry["fixed"], run.get("fixed_label") or entry["fixed_label"])
    moving = measured.of(entry["moving"], run.get("moving_label") or entry["moving_label"])
    per_label = {int(label): float(dice) for label, dice in (run.get("dice_per_label") or {}).items()}
    wanted = list(per_label) or (None if run.get("fixed_label") else entry.get("labels"))
    shared = {label["label"] for label in fixed["labels"]} & {label["label"] for label in moving["labels"]}
    # In the order of the labels of the image, so that Dice values and points correspond.
    order = [label["label"] for label in fixed["labels"] if label["label"] in shared]
    chosen = [label for label in order if wanted is None or label in wanted]
    return Example(
        str(run["group"]),
        str(run["case"]),
        str(run["engine"]),
        float(run["dice"]),
        label_points(fixed, moving, labels=chosen),
        [per_label[label] for label in chosen] if per_label else (),
        (fixed["nats"] + moving["nats"]) / 2,
    )
