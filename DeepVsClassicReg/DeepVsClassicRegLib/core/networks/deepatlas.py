"""DeepAtlas: a registration and a segmentation network that train each other, with labels of few images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..losses.regularity import diffusion
from ..settings import option
from .base import (
    Batch,
    ExtraMap,
    LossContext,
    Method,
    MethodInfo,
    Prediction,
    RegistrationNetwork,
    SegmentationScores,
    Stage,
)
from .dense import DenseNetwork, DenseSettings
from .objectives import (
    checked_supervision,
    image_option,
    image_term,
    label_option,
    label_term,
    radius_option,
    smoothness_option,
)
from .segmenter import (
    SegmentationNetwork,
    SegmenterSettings,
    fitted_structures,
    labeled,
    mean_structure_dice,
    segmentation_terms,
    widths_option,
)

Tensor = torch.Tensor
SEGMENTATION, REGISTRATION, JOINT = "segmentation", "registration", "joint"
SCORES = "scores"


@dataclass(frozen=True)
class DeepAtlasSettings(DenseSettings):
    """Networks and objective; the weights are our choice."""

    structures: tuple[int, ...] = option(
        (), "Labels of the structures", tooltip="Those of the training data when empty.", minimum=1, advanced=True
    )
    widths: tuple[int, ...] = widths_option()
    similarity: str = image_option("ncc", tooltip="The authors use the correlation over the whole image.")
    radius: int = radius_option()
    smoothness: float = smoothness_option()
    label_weight: float = label_option(
        tooltip="Weight of 1 - soft Dice of the warped and the fixed structures; estimated where they are not given."
    )
    segmentation_weight: float = option(
        1.0, "Segmentation weight", tooltip="Weight of the segmentation of images with labels.", minimum=0.0
    )
    pretraining: float = option(
        0.25,
        "Share of each pretraining",
        tooltip="Fraction of the training in which the segmentation, and then the registration, learns alone.",
        minimum=0.01,
        maximum=0.45,
    )


class DeepAtlasNetwork(RegistrationNetwork):
    """A registration network and a segmentation network side by side; each can be used alone.

    Parameters
    ----------
    settings : DeepAtlasSettings
        With the labels of the structures.
    dimensions : int
        2 or 3.
    """

    def __init__(self, settings: DeepAtlasSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.registration = DenseNetwork(settings, dimensions=dimensions)
        segmenter = SegmenterSettings(structures=settings.structures, widths=settings.widths)
        self.segmentation = SegmentationNetwork(segmenter, dimensions=dimensions)
        self.structures = tuple(settings.structures)
        self.multiple = max(self.registration.multiple, self.segmentation.multiple)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair, and the structures of its fixed image as a further output."""
        if self.stage == REGISTRATION and self.training:
            return self.registration(fixed, moving)
        scores = self.segmentation(fixed, moving)
        if self.stage == SEGMENTATION:
            prediction = Prediction(torch.cat([torch.zeros_like(fixed)] * (fixed.ndim - 2), 1))
        else:
            prediction = self.registration(fixed, moving)
        structures = structures_of(scores.values[: len(fixed)])
        title = "Structures of the fixed image"
        shown = ExtraMap(structures, kind="labels", title=title, labels=self.structures)
        return dataclasses.replace(prediction, extras={"structures": shown}, features={SCORES: scores.values})

    def segmented(self, image: Tensor) -> SegmentationScores:
        """Return the scores of images."""
        return self.segmentation(image)


class DeepAtlas(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="deepatlas",
        title="DeepAtlas",
        summary="A registration and a segmentation network that train each other; few images need segmentations.",
        citation="Xu & Niethammer, MICCAI 2019, doi 10.1007/978-3-030-32245-8_47, arXiv 1904.08465",
        settings=DeepAtlasSettings,
        supervision=("labels",),
        partial_labels=True,
    )

    def network(self, settings: DeepAtlasSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the networks with random weights."""
        return DeepAtlasNetwork(settings, dimensions=dimensions)

    def stages(self, settings: DeepAtlasSettings) -> tuple[Stage, ...]:
        """Return the pretraining of each network, and the joint training, in which they take turns."""
        alone = settings.pretraining
        segmentation, registration = ("segmentation.",), ("registration.",)
        return (
            Stage(SEGMENTATION, segmentation, alone),
            Stage(REGISTRATION, registration, alone),
            Stage(JOINT, (*registration, *segmentation), 1 - 2 * alone, turns=(registration, segmentation)),
        )

    def fitted(self, settings: DeepAtlasSettings, labels: Mapping[int, str]) -> DeepAtlasSettings:
        """Return the settings with the labels of the training data."""
        return fitted_structures(settings, labels)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the terms of the stage; in the joint one those of both networks, of which one is frozen.

        The structures of an image without labels are those that the segmentation network finds, so that the overlap
        after registration teaches both networks.
        """
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        terms: dict[str, Tensor] = {}
        if context.stage.name != REGISTRATION:
            scores, truth = labeled(prediction.features[SCORES], batch)
            for name, term in segmentation_terms(scores, truth).items():
                terms[name] = settings.segmentation_weight * term
        if context.stage.name == SEGMENTATION:
            return terms
        u = prediction.displacement
        rough = u if prediction.velocity is None else prediction.velocity
        terms["image"] = image_term(settings.similarity, batch, u, radius=settings.radius)
        terms["smoothness"] = settings.smoothness * diffusion(rough)
        complete = batch if context.stage.name == REGISTRATION else filled(batch, prediction.features[SCORES])
        if complete.fixed_labels is not None and complete.moving_labels is not None:
            terms["labels"] = settings.label_weight * label_term(complete, u)
        return terms

    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the mean Dice of the structures that the segmentation network finds."""
        return mean_structure_dice(*labeled(context.prediction.features[SCORES], context.batch), "segmentation_dice")


def structures_of(scores: Tensor) -> Tensor:
    """Return the memberships of the structures, (N, K, *spatial), of scores (N, K + 1, *spatial)."""
    return SegmentationScores(scores).memberships()[:, 1:]


def filled(batch: Batch, scores: Tensor) -> Batch:
    """Return the batch with estimated structures where an image has no labels.

    Parameters
    ----------
    batch : Batch
        Pairs with labels of at least one side.
    scores : (2 N, K + 1, *spatial) tensor
        Those of the fixed and then of the moving images.
    """
    fixed, moving = scores.split(len(batch.fixed))
    return dataclasses.replace(
        batch,
        fixed_labels=structures_of(fixed) if batch.fixed_labels is None else batch.fixed_labels,
        moving_labels=structures_of(moving) if batch.moving_labels is None else batch.moving_labels,
    )
