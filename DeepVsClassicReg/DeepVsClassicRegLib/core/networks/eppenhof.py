"""Estimates the error of a registration from the fixed and the warped image, per patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import SettingsError
from ..settings import option
from .base import LossContext, Method, MethodInfo, RegistrationNetwork
from .objectives import checked_supervision
from .patch import PatchNetwork, PatchSettings, known_error, patch_means, patch_weights, scores_of, weighted_mean

Tensor = torch.Tensor


@dataclass(frozen=True)
class ErrorSettings(PatchSettings):
    """Network and objective of the error estimation."""

    quantiles: tuple[float, ...] = option(
        (),
        "Quantiles",
        tooltip="Parts of the errors (0 to 1, rising) that are below what is estimated, our choice; with none the mean "
        "error is estimated, as in the paper.",
        minimum=0.01,
        maximum=0.99,
    )

    def __post_init__(self) -> None:
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise SettingsError(f"Quantiles must increase, got {self.quantiles}.")


class Eppenhof(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="eppenhof",
        title="Error estimation",
        summary="Estimates the error of a registration at every voxel from the fixed and the warped image.",
        citation="Eppenhof and Pluim, J. Med. Imaging 5(2):024003, 2018, doi 10.1117/1.JMI.5.2.024003",
        settings=ErrorSettings,
        supervision=("error",),
        kind="error",
    )

    def network(self, settings: ErrorSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return PatchNetwork(settings, dimensions=dimensions, outputs=max(1, len(settings.quantiles)), lengths=True)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the mean squared error of the estimate, or the quantile loss (Koenker and Bassett, 1978)."""
        checked_supervision(context.supervision, self.info.supervision)
        estimate, truth, weights = _compared(context)
        quantiles: tuple[float, ...] = context.settings.quantiles
        missed = truth - estimate
        if not quantiles:
            return {"error": weighted_mean(missed.square(), weights).mean()}
        levels = torch.tensor(quantiles, device=missed.device).view(1, -1, *[1] * (missed.ndim - 2))
        return {"error": weighted_mean(torch.maximum(levels * missed, (levels - 1) * missed), weights).mean()}

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the error of the estimate (voxels), its correlation with the truth, and quantile coverage."""
        estimate, truth, weights = _compared(context)
        shown = weights > 0
        if not shown.any():
            return {}
        true = truth[shown].double()
        middle = estimate[:, (estimate.shape[1] - 1) // 2][:, None][shown].double()
        found = {"rms_voxels": float((middle - true).square().mean().sqrt()), "true_voxels": float(true.mean())}
        if float(true.std()) > 0 and float(middle.std()) > 0:
            found["correlation"] = float(torch.corrcoef(torch.stack([middle, true]))[0, 1])
        for channel, level in enumerate(context.settings.quantiles):
            found[f"below_{level:g}"] = float((true <= estimate[:, channel][:, None][shown]).double().mean())
        return found


def _compared(context: LossContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return the estimate, the truth at the patches, and their weights."""
    scores = scores_of(context)
    truth = patch_means(known_error(context.batch), scores.stride)
    return scores.values, truth, patch_weights(context.batch.fixed, scores.stride)
