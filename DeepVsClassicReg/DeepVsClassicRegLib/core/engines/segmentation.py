"""Segments a volume with a trained network: the estimated segmentation where the user has none."""

from __future__ import annotations

import colorsys
import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..device import Compute, torch_device, torch_threads
from ..errors import RegistrationError
from ..images.freesurfer import STRUCTURES
from ..images.grid import Grid, is_single_slice
from ..images.io import matched_labels
from ..images.volume import LabelMap, Note, Segment, Volume, tag_entry, with_marked_names
from ..networks.card import Card, Model
from ..networks.model_store import choose_model
from ..pair import Pair
from ..progress import Progress
from ..transforms.transform import Transform
from .base import MODEL_REQUIRES, Requirement, missing_of, require_all

if TYPE_CHECKING:
    import torch

    from ..networks.base import RegistrationNetwork

AUTO, KIND = "auto", "segmentation"
ESTIMATED = "estimated segmentation"
FEW_STRUCTURES = 0.5  # share of the structures below which a segmentation is doubtful
SLAB_VOXELS = 500_000  # voxels whose memberships are interpolated together
GOLDEN = 0.618034  # the hues of structures without a known color are this far apart
Array = npt.NDArray[np.float32]


def segment(
    volume: Volume,
    *,
    model: str = AUTO,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
) -> LabelMap:
    """Segment a volume with a trained network.

    Parameters
    ----------
    volume : Volume
        A volume of the anatomy of the model; any grid.
    model : str
        A model of the kind 'segmentation' (`dvcreg models`) or of the method 'deepatlas', by name or folder; 'auto' for
        the bundled one.
    device, threads
        Device and threads of the computation.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Returns
    -------
    LabelMap
        On the grid of the volume, with names and colors; its segments are tagged as estimated, its notes name the
        model and its limits.

    Raises
    ------
    EngineUnavailable
        When PyTorch is missing.
    RegistrationError
        When there is no such model, it is of another kind, or the volume is a single slice.

    Reference
    ---------
    Billot et al., SynthSeg, Med. Image Anal. 86:102789, 2023, doi 10.1016/j.media.2023.102789.
    """
    require()
    from ..networks.model_store import load_model

    listener = progress or Progress()
    listener.report(0.0, "Segmenting")
    chosen = segmentation_model(model)
    compute = Compute(device=device, threads=threads)
    with torch_threads(compute.thread_count):
        card, network = load_model(chosen.folder)
        grid, image = _input(volume, card, network)
        listener.report(0.2, "Segmenting")
        memberships = _memberships(network, image, torch_device(compute.device))
        listener.report(0.6, "Segmenting")
        found = _labels(_largest_part(memberships), grid, volume.grid, listener.part(0.6, 1.0))
    values = np.array([0, *(int(value) for value in card.settings["structures"])], np.int32)
    listener.report(1.0, "Segmenting")
    return LabelMap(
        values[found],
        volume.grid,
        name=f"{volume.name} {ESTIMATED}",
        notes=_notes(card, len(np.unique(found[found > 0])), len(values) - 1),
        segments=_segments(card),
    )


def with_estimated_labels(
    pair: Pair,
    *,
    model: str = AUTO,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
) -> Pair:
    """Return the pair with estimated segmentations where it has none; structures are then marked by name.

    Parameters
    ----------
    pair : Pair
        Segmentations that are given stay; the other side gets those structures of the model that it has, too.
    model, device, threads, progress
        As for `segment`.

    Raises
    ------
    EngineUnavailable, RegistrationError
        As for `segment`; also when the given segmentation has no structure of the model.
    """
    listener = progress or Progress()
    lacking = [side for side in ("fixed", "moving") if getattr(pair, f"{side}_labels") is None]
    found: dict[str, LabelMap | None] = {"fixed": pair.fixed_labels, "moving": pair.moving_labels}
    for place, side in enumerate(lacking):
        part = listener.part(place / len(lacking), (place + 1) / len(lacking))
        found[side] = segment(getattr(pair, side), model=model, device=device, threads=threads, progress=part)
    if not lacking:
        return pair
    fixed, moving = with_marked_names(*matched_labels(found["fixed"], found["moving"]))
    if len(lacking) == 1 and fixed is not None and moving is not None and not set(fixed.labels) & set(moving.labels):
        raise RegistrationError(
            f"The given segmentation has none of the structures estimated for the {lacking[0]} volume.",
            hint="Give no segmentation, so that both are estimated, or a model of its structures.",
        )
    return pair.replace(fixed_labels=fixed, moving_labels=moving)


def missing() -> tuple[Requirement, ...]:
    """Return the packages that are missing for segmentations."""
    return missing_of(MODEL_REQUIRES)


def require() -> None:
    """Raise `EngineUnavailable`, with a remedy, when a package is missing."""
    require_all(MODEL_REQUIRES, "Segmentation")


def segmentation_model(name: str = AUTO) -> Model:
    """Return a model of the kind 'segmentation', or one that registers and segments; see `choose_model`."""
    model = choose_model(name, (KIND, "field"), "Segmentation")
    if not model.card.settings.get("structures"):
        raise RegistrationError(
            f"Model '{model.card.name}' is of kind 'field' and segments no volume.",
            hint="Train one with `dvcreg train --method segmenter` or `--method deepatlas`.",
        )
    return model


def _input(volume: Volume, card: Card, network: RegistrationNetwork) -> tuple[Grid, Array]:
    """Return the grid of the network around the foreground, and the volume on it, intensities 0 to 1."""
    from ..images.intensity import normalized
    from ..images.resample import sampled_on
    from .network.grid import model_grid

    if is_single_slice(volume.grid.size):
        raise RegistrationError("Single slices cannot be segmented.", hint="Use volumes.")
    grid = model_grid(
        Pair(volume, volume),
        Transform(),
        spacing_mm=card.spacing_mm * volume.grid.unit_mm,
        orientation=card.orientation,
        multiple=network.multiple,
    )
    return grid, normalized(sampled_on(volume, grid))


def _memberships(network: RegistrationNetwork, image: Array, device: str) -> Array:
    """Return the memberships of background and structures, (K + 1, Z, Y, X); on the CPU when the GPU fails."""
    import torch

    from .device_fallback import with_cpu_fallback

    def work(where: str) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None].to(where)
        with torch.inference_mode():
            return network.to(where).segmented(tensor).memberships()[0].float().cpu()

    return np.asarray(with_cpu_fallback(device, work, [])[0].numpy(), np.float32)


def _largest_part(memberships: Array) -> Array:
    """Return the memberships with background instead of structures that are not connected with the largest part."""
    from scipy import ndimage

    parts, count = ndimage.label(memberships[0] < 0.5)
    if count < 2:
        return memberships
    largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
    alone = (parts > 0) & (parts != largest)
    cleaned = memberships * ~alone
    cleaned[0] += alone
    return cleaned


def _labels(memberships: Array, own: Grid, grid: Grid, progress: Progress) -> npt.NDArray[np.intp]:
    """Return the class of every voxel of a grid, memberships interpolated linearly, 0 beyond their own grid."""
    import torch
    from torch.nn.functional import grid_sample

    found = np.zeros(grid.shape, np.intp)
    box = _box(memberships, own, grid)
    source = torch.from_numpy(memberships[1:])[None]
    sizes = np.array(own.size, float)
    step = max(1, SLAB_VOXELS // max(1, (box[1].stop - box[1].start) * (box[2].stop - box[2].start)))
    for first in range(box[0].start, box[0].stop, step):
        progress.report((first - box[0].start) / (box[0].stop - box[0].start), "Segmenting")
        slab = (slice(first, min(first + step, box[0].stop)), box[1], box[2])
        index = np.stack(np.meshgrid(*[np.arange(cut.start, cut.stop) for cut in slab], indexing="ij"), axis=-1)
        at = own.point_to_index(grid.index_to_point(index[..., ::-1]))
        scaled = torch.from_numpy((2 * (at + 0.5) / sizes - 1).astype(np.float32))[None]
        values = grid_sample(source, scaled, padding_mode="zeros", align_corners=False)[0]
        highest, place = values.max(dim=0)
        rest = 1 - values.sum(dim=0)
        found[slab] = torch.where(highest > rest, place + 1, 0).numpy()
    return found


def _box(memberships: Array, own: Grid, grid: Grid) -> tuple[slice, slice, slice]:
    """Return the part of a grid in which structures can be; empty when there are none."""
    inside = np.argwhere(memberships[0] < 0.75)
    if not len(inside):
        return slice(0, 0), slice(0, 0), slice(0, 0)
    low, high = inside.min(axis=0)[::-1] - 1.0, inside.max(axis=0)[::-1] + 1.0
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    index = grid.point_to_index(own.index_to_point(corners))[:, ::-1]
    first = np.clip(np.floor(index.min(axis=0)).astype(int), 0, grid.shape)
    last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, grid.shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return z, y, x


def _segments(card: Card) -> dict[int, Segment]:
    """Return the structures with FreeSurfer's names and colors where the labels are FreeSurfer's."""
    known = card.anatomy == "brain"
    found = {}
    for place, value in enumerate(int(entry) for entry in card.settings["structures"]):
        named = STRUCTURES.get(value) if known else None
        name = named[0] if named else card.supervised_labels.get(str(value), f"label {value}")
        color = tuple(part / 255 for part in named[1]) if named else colorsys.hsv_to_rgb(place * GOLDEN % 1, 0.6, 0.9)
        facts = {"Color": " ".join(f"{part:.4g}" for part in color), "Tags": tag_entry(card.name)}
        found[value] = Segment(name, facts)
    return found


def _notes(card: Card, found: int, count: int) -> tuple[str, ...]:
    """Return what the user must know; few structures are a sign of a wrong orientation or of another anatomy."""
    about = f"Estimated by a network ({card.title}), not drawn: check it before you rely on it."
    if found >= FEW_STRUCTURES * count:
        return (about,)
    few = f"Only {found} of {count} structures were found: the volume may be turned in its header, or of other anatomy "
    return (about, Note(f"{few}than '{card.anatomy}'.", unsound=True))
