"""One level of the pyramid in torch: the algorithm of the CPU version, without data transfers between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional

from ...losses.catalogue import make_loss
from ...losses.windows import separable
from ..similarity_models import feature_loss, is_features, is_metric, metric_loss
from .level import Field, FieldConstraint, Region, Steps, nothing, sigmas_vox, taps
from .problem import LevelImages

Tensor = torch.Tensor


def warp(image: Tensor, u: Tensor) -> Tensor:
    """Return image(x + u(x)) of a (1, C, Z, Y, X) image, trilinear, with continued border values."""
    shape = u.shape[2:]
    axes = [torch.arange(n, dtype=u.dtype, device=u.device) for n in shape]
    parts = []
    for axis in (2, 1, 0):
        sizes = [1, 1, 1]
        sizes[axis] = shape[axis]
        position = u[0, axis] + axes[axis].view(sizes)
        parts.append(position * (2.0 / max(shape[axis] - 1, 1)) - 1.0)
    grid = torch.stack(parts, -1)[None]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return first(x) + second(x + first(x))."""
    return first + warp(second, first)


def slopes(image: Tensor) -> Tensor:
    """Return the central differences of a (1, C, Z, Y, X) image, (1, C, 3, Z, Y, X), 0 at the x border."""
    parts = []
    for axis in (2, 3, 4):
        count = image.shape[axis]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, count - 1, 1)
        wide = torch.cat([first, image, last], axis)
        parts.append(0.5 * (wide.narrow(axis, 2, count) - wide.narrow(axis, 0, count)))
    return torch.stack(parts, 2)


def upsample(coarse: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return a voxel field on a finer grid over the same box, in voxels of the finer grid."""
    gain = torch.tensor([n / c for n, c in zip(shape, coarse.shape[2:], strict=True)], device=coarse.device)
    fine = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)
    return fine * gain.to(fine.dtype).view(1, 3, 1, 1, 1)


Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class TorchTerm:
    """A loss of two (1, C, Z, Y, X) tensors as a term of the objective.

    The loss is differentiated by the warped channels only, without back-propagation through the sampling; multiplied by
    the slope of the warped image, it gives the force of a compositive step.
    """

    def __init__(
        self, fixed: Tensor, moving: Tensor, loss: Loss, weight: Tensor | None, moving_weight: Tensor | None
    ) -> None:
        self.fixed, self.moving, self.loss = fixed, moving, loss
        self.weight, self.moving_weight = weight, moving_weight

    def force(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the descent direction (1, 3, Z, Y, X) and the value at the field u."""
        weight = self.weight
        if self.moving_weight is not None:
            now = warp(self.moving_weight, u)
            weight = now if weight is None else now * weight
        warped = warp(self.moving, u)
        with torch.enable_grad():
            leaf = warped.requires_grad_(True)
            value = self.loss(self.fixed, leaf, weight)
            (gradient,) = torch.autograd.grad(value, leaf)
        warped = warped.detach()
        force = -(gradient.unsqueeze(2) * slopes(warped)).sum(1)
        return force, value.detach()


def make_term(similarity: str, images: LevelImages, radius: int, device: str) -> TorchTerm:
    """Return the term of this similarity for the images of a level."""
    fixed, moving = as_tensor(images.fixed[None, None], device), as_tensor(images.moving[None, None], device)
    inside = torch.zeros_like(fixed)
    mask = images.region.mask
    inside[0, 0, :, :, : mask.shape[2]] = torch.as_tensor(mask, device=device).to(fixed.dtype)
    weight = inside
    if images.fixed_mask is not None:
        weight = inside * as_tensor(images.fixed_mask[None, None], device)
    moving_weight = None if images.moving_mask is None else as_tensor(images.moving_mask[None, None], device)
    if is_metric(similarity):
        return TorchTerm(fixed, moving, metric_loss(similarity, device), weight, moving_weight)
    if is_features(similarity):
        return TorchTerm(fixed, moving, feature_loss(similarity, fixed, device), weight, moving_weight)
    loss = make_loss(similarity, **({"radius": radius} if similarity == "lncc" else {}))
    flat = [axis for axis, size in enumerate(fixed.shape) if axis > 1 and size == 1]
    if flat:
        fixed, moving = (loss.prepare(image.squeeze(flat[0])).unsqueeze(flat[0]) for image in (fixed, moving))
        return TorchTerm(fixed, moving, _in_plane(loss, flat[0]), weight, moving_weight)
    return TorchTerm(loss.prepare(fixed), loss.prepare(moving), loss, weight, moving_weight)


def _in_plane(loss: Loss, axis: int) -> Loss:
    """Return a loss of single slices: windows and descriptors are those of 2D images."""

    def found(fixed: Tensor, warped: Tensor, weight: Tensor | None) -> Tensor:
        return loss(fixed.squeeze(axis), warped.squeeze(axis), None if weight is None else weight.squeeze(axis))

    return found


def make_overlap(fixed: Any, moving: Any, device: str) -> TorchTerm:
    """Return the overlap term of these label memberships (lists of (Z, Y, X) arrays)."""

    dice = make_loss("soft-dice")

    def loss(f: Tensor, w: Tensor, _weight: Tensor | None) -> Tensor:
        return dice(f, w)

    f = torch.stack([as_tensor(member, device) for member in fixed])[None]
    m = torch.stack([as_tensor(member, device) for member in moving])[None]
    return TorchTerm(f, m, loss, None, None)


def as_tensor(array: Any, device: str) -> Tensor:
    """Return a float32 tensor on the device."""
    return torch.as_tensor(array, dtype=torch.float32).to(device)


PATIENCE = 5


class TorchLevel:
    """Tensors and steps of one level; see `NumbaLevel` for the parameters."""

    def __init__(
        self,
        terms: Sequence[tuple[TorchTerm, float]],
        region: Region,
        start: Field | None,
        shape: tuple[int, int, int],
        spacing: Sequence[float],
        device: str,
        *,
        pull: Callable[[Field, float], Field] | None = None,
        bodies: FieldConstraint | None = None,
        check_cancelled: Callable[[], None] = nothing,
    ) -> None:
        self.terms, self.spacing, self.device = terms, tuple(spacing), device
        self.pull, self.bodies = pull, bodies
        self.check_cancelled = check_cancelled
        self.voxels = max(region.voxels, 1)
        inside = torch.zeros((1, 1, *shape), device=device)
        mask = region.mask
        inside[0, 0, :, :, : mask.shape[2]] = torch.as_tensor(mask, device=device).to(inside.dtype)
        self.inside = inside
        self.aspect = as_tensor([min(spacing) / s for s in spacing], device).view(1, 3, 1, 1, 1)
        self.u = torch.zeros((1, 3, *shape), device=device)
        if start is not None:
            self.u = upsample(as_tensor(start[None], device), shape)
        if bodies is not None:
            bodies.place(self.field())
        self._force = torch.zeros_like(self.u)
        self._memory = torch.zeros_like(self.u)
        self.patience = 1 if device == "cpu" else PATIENCE
        self._objectives: list[Tensor] = []
        self._taps: dict[float, list[Tensor]] = {}

    def objectives(self) -> list[float]:
        """Return the objectives (lower is better) of the evaluations since the last call, in one transfer."""
        found, self._objectives = self._objectives, []
        return [float(value) for value in torch.stack(found).tolist()] if found else []

    def evaluate(self) -> None:
        """Compute the force at the current field and store the objective."""
        total = torch.zeros((), device=self.device)
        force = torch.zeros_like(self.u)
        for number, (term, weight) in enumerate(self.terms):
            self.check_cancelled()
            direction, value = term.force(self.u)
            direction = direction * self.inside
            total = total + weight * value
            if number == 0:
                force = direction
                continue
            first, other = self._rms(force), self._rms(direction)
            gain = torch.where(first > 0, first, torch.ones_like(first)) / other.clamp_min(1e-20)
            force = force + weight * gain * direction
        self._force = force
        self._objectives.append(total)

    def advance(self, steps: Steps) -> None:
        """Take one compositive step along the force, then smooth the field."""
        force = self._blur(self._force, steps.sigma_update) * self.inside * self.aspect
        self.check_cancelled()
        lengths = force.norm(dim=1, keepdim=True)
        rms = (lengths.square().sum() / self.voxels).sqrt()
        gain = 1.0 / (lengths + steps.softness * rms + 1e-30)
        self._memory = steps.momentum * self._memory + gain * force * self.aspect
        update = steps.step * (1 - steps.momentum) * self._memory
        self.check_cancelled()
        moved = compose(update, self.u)
        if self.pull is not None:
            wanted = self.pull(moved[0].cpu().numpy(), steps.step)
            moved = compose(as_tensor(wanted[None], self.device), moved)
            self.u = moved
        if steps.sigma_field > 0:
            moved = self._blur(moved, steps.sigma_field)
        self.u = moved * self.inside + self.u * (1 - self.inside)
        if self.bodies is not None:
            held = self.field()
            self.bodies.hold(held)
            self.u = as_tensor(held[None], self.device)

    def field(self) -> Field:
        """Return the current displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        return self.u[0].cpu().numpy()

    def _blur(self, field: Tensor, sigma: float) -> Tensor:
        if sigma not in self._taps:
            self._taps[sigma] = [as_tensor(taps(s), self.device) for s in sigmas_vox(sigma, self.spacing)]
        return separable(field, self._taps[sigma])

    def _rms(self, force: Tensor) -> Tensor:
        return (force.square().sum() / self.voxels).sqrt()
