"""One level of the pyramid in torch: the same algorithm as on the CPU, without leaving the device between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ...losses.windows import separable
from .region import Region
from .schedule import Field, Steps, nothing, sigmas_vox, taps
from .torch_sampling import compose, upsample
from .torch_terms import TorchTerm, as_tensor

Tensor = torch.Tensor
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
        pause: Callable[[], None] = nothing,
    ) -> None:
        self.terms, self.spacing, self.device, self.pull = terms, tuple(spacing), device, pull
        self.pause = pause
        self.voxels = max(region.voxels, 1)
        inside = torch.zeros((1, 1, *shape), device=device)
        mask = region.mask
        inside[0, 0, :, :, : mask.shape[2]] = torch.as_tensor(mask, device=device).to(inside.dtype)
        self.inside = inside
        self.aspect = as_tensor([min(spacing) / s for s in spacing], device).view(1, 3, 1, 1, 1)
        self.u = torch.zeros((1, 3, *shape), device=device)
        if start is not None:
            self.u = upsample(as_tensor(start[None], device), shape)
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
        """Compute the force at the present field and keep the objective."""
        total = torch.zeros((), device=self.device)
        force = torch.zeros_like(self.u)
        for number, (term, weight) in enumerate(self.terms):
            self.pause()
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
        self.pause()
        lengths = force.norm(dim=1, keepdim=True)
        rms = (lengths.square().sum() / self.voxels).sqrt()
        gain = 1.0 / (lengths + steps.softness * rms + 1e-30)
        self._memory = steps.momentum * self._memory + gain * force * self.aspect
        update = steps.step * (1 - steps.momentum) * self._memory
        self.pause()
        moved = compose(update, self.u)
        if self.pull is not None:
            wanted = self.pull(moved[0].cpu().numpy(), steps.step)
            moved = compose(as_tensor(wanted[None], self.device), moved)
            self.u = moved
        if steps.sigma_field > 0:
            moved = self._blur(moved, steps.sigma_field)
        self.u = moved * self.inside + self.u * (1 - self.inside)

    def field(self) -> Field:
        """Return the present displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        return self.u[0].cpu().numpy()

    def _blur(self, field: Tensor, sigma: float) -> Tensor:
        if sigma not in self._taps:
            self._taps[sigma] = [as_tensor(taps(s), self.device) for s in sigmas_vox(sigma, self.spacing)]
        return separable(field, self._taps[sigma])

    def _rms(self, force: Tensor) -> Tensor:
        return (force.square().sum() / self.voxels).sqrt()
