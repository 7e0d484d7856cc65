"""A learned metric of a pose: the target registration error estimated from the fixed and the warped image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from .base import LossContext, Method, MethodInfo, PatchScores, RegistrationNetwork
from .objectives import checked_supervision
from .patch import PatchNetwork, PatchSettings, known_error, patch_means, patch_weights, scores_of, weighted_mean

Tensor = torch.Tensor


class Haskins(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="haskins",
        title="Learned similarity of a pose",
        summary="A metric for linear alignment: estimates the target registration error of a pose from both images.",
        citation="Haskins et al., IJCARS 14:417-425, 2019, doi 10.1007/s11548-018-1875-7, arXiv 1806.04548",
        settings=PatchSettings,
        supervision=("error",),
        kind="metric",
    )

    def network(self, settings: PatchSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return PatchNetwork(settings, dimensions=dimensions, lengths=True)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the squared difference between the estimate of each patch and the error of the pose, voxels.

        The network of the paper has one output for a whole (small) volume. Here every patch estimates the same value,
        and the metric is their mean (our choice: it needs fewer poses in training).
        """
        checked_supervision(context.supervision, self.info.supervision)
        scores, weights, truth = _poses(context)
        wanted = truth.view(*truth.shape, *[1] * (scores.values.ndim - 2))
        return {"error": weighted_mean((scores.values - wanted).square(), weights).mean()}

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the error of the poses and the error of the estimate, voxels."""
        scores, weights, truth = _poses(context)
        off = weighted_mean(scores.values, weights) - truth
        return {"true_voxels": float(truth.mean()), "off_voxels": float(off.abs().mean())}


def _poses(context: LossContext) -> tuple[PatchScores, Tensor, Tensor]:
    """Return the scores, their weights, and the mean error of each pose, (N, 1) voxels."""
    scores = scores_of(context)
    weights = patch_weights(context.batch.fixed, scores.stride)
    return scores, weights, weighted_mean(patch_means(known_error(context.batch), scores.stride), weights)
