"""Bodies that keep their shape or their volume: the field is projected to such maps inside them after every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.resample import warp_labels
from ...images.volume import LabelMap
from ...pair import Pair
from ...transforms.transform import Affine
from .level import Field, Ints, Mask
from .locality import eased
from .problem import Image, OptimizationProblem, pooled
from .settings import InstanceSettings

Array = npt.NDArray[np.float64]
RIGID, VOLUME = "rigid", "volume"
# A voxel of a level belongs to a body when at least this fraction of it does.
HALF = 0.5
# Voxels around a body that follow it completely, so that differences at its border are those inside, and the width of
# the transition to the free field.
RIM, FADE = 1.8, 5.0
FEWEST_VOXELS = 4
# Steps after which bodies of the moving side are found again.
RENEWAL = 5
# Factor between the scale of two steps is limited, so that the surroundings can follow.
LARGEST_SCALE = 1.1


@dataclass(frozen=True, eq=False)
class Body:
    """A body on the working grid of one side.

    Attributes
    ----------
    mask : (Z, Y, X) bool array
        Its voxels; of the moving side after resampling with the start.
    kind : str
        'rigid': moved by a rotation and a translation; 'volume': keeps its volume.
    moving : bool
        Whether the mask is that of the moving side, which moves with the field.
    """

    mask: Mask
    kind: str
    moving: bool


@dataclass(frozen=True, eq=False)
class Bodies:
    """All bodies of a pair on the working grid.

    Attributes
    ----------
    regions : tuple of Body
        The bodies.
    frame : (4, 4) array
        Maps voxels (z, y, x) to millimeters after the linear start.
    before : (4, 4) array
        Maps voxels (z, y, x) to millimeters of the fixed volume.
    """

    regions: tuple[Body, ...]
    frame: Array
    before: Array

    def on_level(self, shrink: tuple[int, int, int]) -> HeldBodies:
        """Return the bodies on the level with these block sizes."""
        scale = np.eye(4)
        scale[:3, :3] = np.diag(np.array(shrink, float))
        scale[:3, 3] = (np.array(shrink) - 1) / 2
        shares = [pooled(region.mask.astype(np.float32), shrink) for region in self.regions]
        return HeldBodies(self.regions, shares, self.frame @ scale, self.before @ scale)


class HeldBodies:
    """The bodies of one level: `place` finds their voxels, `hold` projects a field to the maps that they may have.

    Parameters
    ----------
    regions : sequence of Body
        The bodies.
    shares : sequence of (Z, Y, X) arrays
        Share of every voxel of the level that belongs to each body.
    frame, before : (4, 4) arrays
        As for `Bodies`, for voxels of the level.

    References
    ----------
    Little, Hill, Hawkes, CVIU 66:223-232, 1997, doi 10.1006/cviu.1997.0608 (rigid structures in a deformation, weighted
    by inverse squared distances).
    """

    def __init__(self, regions: Sequence[Body], shares: Sequence[Image], frame: Array, before: Array) -> None:
        self._regions, self._shares = regions, shares
        self._frame, self._before = frame[:3, :3], before[:3, :3]
        self._placed: list[PlacedBody] = []
        self._steps = 0

    def place(self, u: Field) -> None:
        """Find the voxels of the bodies, on the moving side with the field (3, Z, Y, X) of the level."""
        masks = []
        for region, share in zip(self._regions, self._shares, strict=True):
            mask = _followed(share, u) if region.moving else share > HALF
            if int(mask.sum()) >= FEWEST_VOXELS:
                masks.append((region.kind, mask))
        self._placed = placed_bodies(masks)

    def hold(self, u: Field) -> None:
        """Change the field (3, Z, Y, X) of the level in place to one of the allowed maps inside the bodies."""
        self._steps += 1
        if self._steps % RENEWAL == 0 and any(region.moving for region in self._regions):
            self.place(u)
        changes = []
        for body in self._placed:
            here = u[(slice(None), *body.nodes.T)]
            find = self._rigid if body.kind == RIGID else self._scaled
            changes.append((body.nodes, body.weights * (find(u, body) - here)))
        for nodes, change in changes:
            u[(slice(None), *nodes.T)] += change.astype(np.float32)

    def _rigid(self, u: Field, body: PlacedBody) -> Array:
        """Return the displacements of the nodes, (3, N), in the best rigid motion of the body."""
        start = body.inside.astype(np.float64)
        end = start + u[(slice(None), *body.inside.T)].T
        center, moved = start.mean(axis=0), end.mean(axis=0)
        spread = self._frame @ ((end - moved).T @ (start - center)) @ self._before.T
        left, _singular, right = np.linalg.svd(spread)
        rotation = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
        turn = np.linalg.solve(self._frame, rotation @ self._before)
        return np.asarray((moved + (body.nodes - center) @ turn.T - body.nodes).T)

    def _scaled(self, u: Field, body: PlacedBody) -> Array:
        """Return the displacements of the nodes, (3, N), scaled about the center of the body to its volume."""
        center = (body.inside + u[(slice(None), *body.inside.T)].T).mean(axis=0)
        scale = self._volume(u, body.inside) ** (-1 / 3)
        scale = min(max(scale, 1 / LARGEST_SCALE), LARGEST_SCALE)
        here = u[(slice(None), *body.nodes.T)]
        return np.asarray((center + scale * (body.nodes + here.T - center) - body.nodes).T)

    def _volume(self, u: Field, inside: Ints) -> float:
        """Return the volume of the mapped body as a multiple of its volume in the fixed volume."""
        low = np.maximum(inside.min(axis=0) - 1, 0)
        high = np.minimum(inside.max(axis=0) + 2, u.shape[1:])
        part = u[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))].astype(np.float64)
        gradient = np.stack([np.stack(np.gradient(component)) for component in part])
        at = (slice(None), slice(None), *(inside - low).T)
        matrices = np.moveaxis(gradient[at], -1, 0) + np.eye(3)
        linear = abs(np.linalg.det(self._frame) / np.linalg.det(self._before))
        return max(float(np.linalg.det(matrices).mean()) * linear, 1e-3)


def keeps_bodies(pair: Pair, settings: InstanceSettings) -> bool:
    """Return whether the pair has bodies that keep their shape or volume."""
    excluded = pair.fixed_excluded or pair.moving_excluded
    return bool(pair.fixed_rigid or pair.moving_rigid or (excluded and settings.excluded in (RIGID, VOLUME)))


def make_bodies(pair: Pair, problem: OptimizationProblem, *, excluded: str) -> Bodies | None:
    """Return the bodies of a pair on the working grid; None when there are none.

    Parameters
    ----------
    pair : Pair
        Its rigid bodies, one per label, and its excluded regions.
    problem : OptimizationProblem
        The pair on the working grid.
    excluded : str
        What excluded regions keep: 'rigid' or 'volume'; anything else: nothing.
    """
    regions = []
    for side, start in (("fixed", None), ("moving", problem.start)):
        rigid: LabelMap | None = getattr(pair, f"{side}_rigid")
        out: LabelMap | None = getattr(pair, f"{side}_excluded") if excluded in (RIGID, VOLUME) else None
        for labels, kind in ((rigid, RIGID), (out, excluded)):
            if labels is None:
                continue
            array = warp_labels(labels, problem.grid, start).array
            for label in (int(value) for value in np.unique(array) if value):
                regions.append(Body(array == label, kind, start is not None))
    if not regions:
        return None
    # After a deformable start the found displacements themselves are rigid: the start is expected to keep the bodies.
    linear = problem.start.affine or Affine.identity()
    turned = np.eye(4)[[2, 1, 0, 3]]
    index = problem.grid.index_to_point
    before = np.eye(4)
    before[:3, 3] = index([0.0, 0.0, 0.0])
    before[:3, :3] = (index(np.eye(3)) - before[:3, 3]).T
    return Bodies(tuple(regions), linear.homogeneous @ before @ turned, before @ turned)


def _followed(share: Image, u: Field) -> Mask:
    """Return where share(x + u(x)) exceeds one half."""
    from scipy import ndimage  # slow to load

    found = np.zeros(share.shape, bool)
    inside = np.argwhere(share > HALF)
    if not len(inside):
        return found
    reach = int(np.ceil(np.abs(u).max())) + 1
    low = np.maximum(inside.min(axis=0) - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(low, inside.max(axis=0) + reach + 1, strict=True))
    part = u[(slice(None), *box)]
    places = np.indices(part.shape[1:], np.float32) + low[:, None, None, None].astype(np.float32) + part
    found[box] = ndimage.map_coordinates(share, places, order=1, mode="nearest") > HALF
    return found


@dataclass(frozen=True, eq=False)
class PlacedBody:
    """The voxels of a body and of its surroundings.

    Attributes
    ----------
    kind : str
        As for `Body`.
    inside, nodes : (N, 3) arrays
        Voxels (z, y, x) of the body; those of the body and its surroundings.
    weights : (N,) array
        How much of the body's map each node gets: 1 inside, less toward the free field and toward other bodies.
    """

    kind: str
    inside: Ints
    nodes: Ints
    weights: Array


def placed_bodies(masks: Sequence[tuple[str, Mask]]) -> list[PlacedBody]:
    """Return the bodies with these (kind, voxels) and the transition around them."""
    if not masks:
        return []
    near = [_nearby(mask) for _kind, mask in masks]
    total = np.zeros(masks[0][1].shape)
    for nodes, distance in near:
        total[tuple(nodes.T)] += _closeness(distance)
    found = []
    for (kind, mask), (nodes, distance) in zip(masks, near, strict=True):
        weights = eased((RIM + FADE - distance) / FADE) * _closeness(distance) / total[tuple(nodes.T)]
        found.append(PlacedBody(kind, np.argwhere(mask), nodes, weights))
    return found


def _closeness(distance: Array) -> Array:
    """Return how much of a voxel belongs to a body: all inside, most in its rim, then by inverse squared distances."""
    rim = 1e6 * np.maximum(distance, 0.1) ** -8.0
    return np.where(distance <= RIM, rim, 1 / np.maximum(distance - RIM, 0.1) ** 2)


def _nearby(mask: Mask) -> tuple[Ints, Array]:
    """Return the voxels (z, y, x) within the transition around a body, and their distance from it."""
    from scipy import ndimage  # slow to load

    inside = np.argwhere(mask)
    reach = int(np.ceil(RIM + FADE)) + 1
    low = np.maximum(inside.min(axis=0) - reach, 0)
    high = np.minimum(inside.max(axis=0) + reach + 1, mask.shape)
    part = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    distance = ndimage.distance_transform_edt(~part)
    nodes = np.argwhere(distance < RIM + FADE)
    return nodes + low, np.asarray(distance[tuple(nodes.T)])
