"""Similarity terms on the torch back end: the network losses' gradients, carried to the field by the image's slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...losses.catalogue import make_loss
from .optimize import LevelImages
from .torch_sampling import slopes, warp

Tensor = torch.Tensor
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class TorchTerm:
    """A loss of two (1, C, Z, Y, X) tensors as a term of the objective.

    The loss is differentiated only to the warped channels, so that nothing is propagated back through
    the sampling; the slope of the warped image gives the force of a compositive step.
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
    loss = make_loss(similarity, **({"radius": radius} if similarity == "lncc" else {}))
    return TorchTerm(loss.prepare(fixed), loss.prepare(moving), loss, weight, moving_weight)


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
