"""A learned metric for two contrasts: a classifier of aligned and misaligned patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional

from ..errors import SettingsError
from ..settings import option
from .base import LossContext, Method, MethodInfo, RegistrationNetwork
from .objectives import checked_supervision
from .patch import PatchNetwork, PatchSettings, known_error, patch_means, patch_weights, scores_of

Tensor = torch.Tensor


@dataclass(frozen=True)
class DeepMetricSettings(PatchSettings):
    """Network and objective of the deep metric."""

    aligned: float = option(
        0.5, "Aligned up to", unit="voxels", tooltip="Our choice; patches between the limits are not used.", minimum=0.0
    )
    misaligned: float = option(1.5, "Misaligned from", unit="voxels", tooltip="Our choice.", minimum=0.0)

    def __post_init__(self) -> None:
        if self.misaligned < self.aligned:
            raise SettingsError(
                f"'misaligned' ({self.misaligned:g}) is less than 'aligned' ({self.aligned:g}).",
                hint="Use increasing distances.",
            )


class Simonovsky(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="simonovsky",
        title="Deep metric",
        summary="A metric for two contrasts, linear or deformable: distinguishes aligned from misaligned patches.",
        citation="Simonovsky et al., MICCAI 2016, LNCS 9902:10-18, doi 10.1007/978-3-319-46726-9_2, arXiv 1609.05396",
        settings=DeepMetricSettings,
        supervision=("error",),
        kind="metric",
    )

    def network(self, settings: DeepMetricSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return PatchNetwork(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the hinge loss with equal weight of both classes, because the paper samples them equally."""
        checked_supervision(context.supervision, self.info.supervision)
        values, aligned, misaligned = _sorted(context)
        return {"aligned": _hinge(-values, aligned) / 2, "misaligned": _hinge(values, misaligned) / 2}

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the recall of each class of patches."""
        values, aligned, misaligned = _sorted(context)
        found = {}
        if aligned.any():
            found["aligned_found"] = float((values[aligned] < 0).double().mean())
        if misaligned.any():
            found["misaligned_found"] = float((values[misaligned] > 0).double().mean())
        return found


def _sorted(context: LossContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores, higher for less aligned patches, and the aligned and misaligned patches."""
    scores = scores_of(context)
    error = patch_means(known_error(context.batch), scores.stride)
    shown = patch_weights(context.batch.fixed, scores.stride) > 0
    settings = context.settings
    return scores.values, shown & (error <= settings.aligned), shown & (error >= settings.misaligned)


def _hinge(signed: Tensor, members: Tensor) -> Tensor:
    """Return the mean hinge loss over the members of a class; 0, with a gradient, when there are none."""
    return (functional.relu(1 - signed) * members).sum() / members.sum().clamp(min=1)
