"""Backgrounds: what surrounds the body is seen whatever its value, and what was never measured is left out."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.engines.engine_input import engine_view
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.images.intensity import background_value, foreground, marked, with_dark_background
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

from . import Case, Gives

SIZE = 40
Image = np.ndarray


def plain(name: str, call: Callable[[], Any], truth: Any, tolerance: float = 0.0) -> Case:
    return Case("H", name, lambda folder: call, Gives(truth, tolerance))


def slow(case: Case) -> Case:
    return dataclasses.replace(case, slow=True)


@cache
def phantom() -> Pair:
    return make_phantom("head", size=SIZE).pair


def circle() -> Image:
    """The voxels outside of the circle of a CT."""
    _, y, x = np.indices((SIZE,) * 3)
    middle = (SIZE - 1) / 2
    return (y - middle) ** 2 + (x - middle) ** 2 > (0.46 * SIZE) ** 2


def head(side: str = "fixed") -> Image:
    return getattr(phantom(), side).array


def brain(side: str = "fixed") -> Image:
    return getattr(phantom(), f"{side}_labels").mask()


def hounsfield(side: str = "fixed") -> Image:
    return np.where(head(side) > 20, head(side) - 400, -1000.0)


def padded(value: float, side: str = "fixed") -> Image:
    return np.where(circle(), value, hounsfield(side))


def noisy(array: Image, sigma: float) -> Image:
    return array + np.random.default_rng(1).normal(0, sigma, array.shape)


def stripped(side: str = "fixed") -> Image:
    return np.where(brain(side), head(side), 0)


def z_scored(side: str = "fixed") -> Image:
    tissue = head(side)[brain(side)]
    return np.where(brain(side), (head(side) - tissue.mean()) / tissue.std(), 0)


def with_table() -> Image:
    array = hounsfield()
    array[:, SIZE - 4 : SIZE - 2, 8:-8] = 300
    return array


def framed() -> Image:
    array = head().copy()
    for part in (np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:]):
        array[part] = 5000
    return array


def positron() -> Image:
    """A PET: next to nothing outside, a faint body, a hot spot."""
    array = np.abs(noisy(0.1 * head(), 1.0))
    array[20:23, 20:23, 20:23] = 5000
    return array


def turned_box() -> Image:
    """A CT resampled onto a turned grid: its corners hold -3024."""
    grid = phantom().fixed.grid
    volume = Volume(hounsfield().astype(np.float32), grid)
    angle = np.radians(25)
    matrix = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    return warp_volume(volume, grid, Affine.about(matrix, grid.center_mm), fill=-3024).array


def as_volume(array: Image, side: str = "fixed") -> Volume:
    return Volume(np.asarray(array, dtype=np.float32), getattr(phantom(), side).grid)


def measured_share(array: Image) -> float:
    volume = marked(as_volume(array))
    return 1.0 if volume.valid is None else float(volume.valid.mean())


def background(array: Image) -> float:
    return background_value(marked(as_volume(array)))


def body_share(array: Image) -> float:
    return float(foreground(marked(as_volume(array))).mean())


def pair_of(make: Callable[[str], Image]) -> Pair:
    return phantom().replace(fixed=as_volume(make("fixed")), moving=as_volume(make("moving"), "moving"))


def outcome(pair: Pair, engine: str) -> dict[str, float]:
    result = register(pair, engine, threads=1)
    return dict(evaluate(pair, result, measures=("overlap", "landmarks")).after)


@cache
def error_of_air(engine: str) -> float:
    return outcome(pair_of(hounsfield), engine)["tre_mm_mean"]


@cache
def dice_of_stripped(engine: str) -> float:
    return outcome(pair_of(stripped), engine)["dice_mean"]


def error_beyond_air(make: Callable[[str], Image], engine: str) -> Callable[[], float]:
    """How much larger than without padding the error is, mm."""
    return lambda: max(0.0, outcome(pair_of(make), engine)["tre_mm_mean"] - error_of_air(engine))


def dice_below_stripped(make: Callable[[str], Image], engine: str) -> Callable[[], float]:
    return lambda: max(0.0, dice_of_stripped(engine) - outcome(pair_of(make), engine)["dice_mean"])


def read_back(folder: Path) -> Callable[[], float]:
    image = sitk.GetImageFromArray(padded(-2000).astype(np.int16))
    sitk.WriteImage(image, str(folder / "circle.nii.gz"))
    return lambda: float(read_volume(folder / "circle.nii.gz").valid.mean())


def read_holes(folder: Path) -> Callable[[], float]:
    image = sitk.GetImageFromArray(padded(np.nan).astype(np.float32))
    sitk.WriteImage(image, str(folder / "holes.nrrd"))
    return lambda: background_value(read_volume(folder / "holes.nrrd"))


def says_so(folder: Path) -> Callable[[], Volume]:
    image = sitk.GetImageFromArray(padded(-3024).astype(np.int16))
    sitk.WriteImage(image, str(folder / "circle.mha"))
    return lambda: read_volume(folder / "circle.mha")


def merged_mask() -> float:
    """Share of a user's mask (the upper half) that is left after merging it with what was measured."""
    half = np.zeros((SIZE,) * 3, np.int32)
    half[SIZE // 2 :] = 1
    fixed = as_volume(padded(-3024))
    pair = phantom().replace(fixed=fixed, fixed_mask=LabelMap(half, fixed.grid))
    mask = engine_view(pair)[0].fixed_mask
    assert mask is not None
    return float(mask.mask().mean())


def seen_through_padding() -> float:
    """Percent of the fixed region that is mapped to measured voxels; the padding of the moving volume is not."""
    moving = marked(as_volume(padded(-3024, "moving"), "moving"))
    everywhere = LabelMap(np.ones((SIZE,) * 3, np.int32), moving.grid)
    pair = Pair(as_volume(hounsfield("moving")), moving, fixed_mask=everywhere)
    return float(evaluate(pair, Transform(), measures=("similarity",)).after["overlap_percent"])


def beyond_the_view(make: Callable[[str], Image]) -> Callable[[], list[float]]:
    """The values of a warped volume beyond the moving view."""

    def call() -> list[float]:
        moving = marked(as_volume(make("moving"), "moving"))
        far = Affine.shift(2 * moving.grid.extent_mm)
        return np.unique(warp_volume(moving, moving.grid, far).array).round(3).tolist()

    return call


INSIDE = 1 - float(circle().mean())
BODY = float((head() > 0.1 * np.percentile(head(), 99.5)).mean())

CASES = [
    *[
        plain(f"CT circle of {value:g} is not measured", lambda v=value: measured_share(padded(v)), INSIDE, 1e-6)
        for value in (-1070, -1100, -1200, -1500, -2000, -2048, -3024, -32768, 4095, 32767)
    ],
    *[plain(f"air is the background inside a circle of {v:g}", lambda v=v: background(padded(v)), -1000.0) for v in (-1100, -1500, -3024, 32767)],
    plain("noisy CT in a circle of -2000", lambda: measured_share(np.where(circle(), -2000, noisy(hounsfield(), 15))), INSIDE, 1e-6),
    plain("noisy CT in a circle of -1200", lambda: measured_share(np.where(circle(), -1200, noisy(hounsfield(), 15))), INSIDE, 1e-6),
    plain("CT resampled onto a turned grid", lambda: measured_share(turned_box()) < 0.95, True),
    plain("a circle of -1024 beside air of -1000 changes nothing", lambda: measured_share(padded(-1024)), 1.0),
    plain("circle within a circle", lambda: measured_share(np.where(np.roll(circle(), 0) & (np.indices((SIZE,) * 3)[1] < 4), -4000, padded(-2000))) <= INSIDE + 1e-6, True),
    plain("bright frame", lambda: measured_share(framed()) < 0.96, True),
    plain("skull-stripped brain: zeros are background", lambda: measured_share(stripped()), 1.0),
    plain("z-scored brain: zeros are background", lambda: measured_share(z_scored()), 1.0),
    plain("head in air: nothing is padding", lambda: measured_share(head()), 1.0),
    plain("CT with a table: nothing is padding", lambda: measured_share(with_table()), 1.0),
    plain("background of a z-scored brain", lambda: background(z_scored()), 0.0),
    plain("background of a stripped brain", lambda: background(stripped()), 0.0),
    plain("background of a brain on 255", lambda: background(np.where(brain(), 255 - head() / 5, 255)), 255.0),
    plain("background of a CT with a table", lambda: background(with_table()), -1000.0),
    plain("background of a noisy CT", lambda: background(noisy(hounsfield(), 10)), -1000.0, 5.0),
    plain("background of a PET", lambda: background(positron()), 0.7, 0.5),
    plain("background of an inverted noisy head", lambda: background(1000 - np.abs(noisy(head(), 5))), 995.0, 5.0),
    plain("a crop of tissue keeps its low end", lambda: background(np.tile(head()[16:24, 16:24, 16:24], (5, 5, 5))), float(np.percentile(np.tile(head()[16:24, 16:24, 16:24], (5, 5, 5)), 0.5)), 1e-3),
    plain("body of a head", lambda: body_share(head()), BODY, 1e-6),
    plain("body of an inverted noisy head", lambda: body_share(1000 - np.abs(noisy(head(), 2))), BODY, 0.02),
    plain("body of a z-scored brain", lambda: body_share(z_scored()), float(brain().mean()), 0.01),
    plain("body of a CT in a circle", lambda: body_share(padded(-3024)), float((hounsfield() > -900).mean()), 0.01),
    plain("body of a PET", lambda: 0.0 < body_share(positron()) < 0.4, True),
    plain("usual volumes are handed over as they are", lambda: with_dark_background(phantom().fixed) is phantom().fixed, True),
    plain("a user's mask is merged", merged_mask, INSIDE / 2, 1e-6),
    plain("padding of the moving volume is not seen", seen_through_padding, 100 * INSIDE, 0.5),
    plain("beyond a z-scored brain", beyond_the_view(z_scored), [0.0]),
    plain("beyond a CT in a circle", beyond_the_view(lambda side: padded(-3024, side)), [-1000.0]),
    Case("H", "circle in a file", read_back, Gives(INSIDE, 1e-6)),
    Case("H", "circle of NaN in a file: air is the background", read_holes, Gives(-1000.0)),
    Case("H", "the note on padding", says_so, Gives(True, read=lambda run: True, notes=("-3024", "left out"))),
    plain("linear, CT circle of -3024", error_beyond_air(lambda side: padded(-3024, side), "linear"), 0.0, 0.4),
    slow(plain("linear, only the fixed CT in a circle", error_beyond_air(lambda side: padded(-2000, side) if side == "fixed" else hounsfield(side), "linear"), 0.0, 0.4)),
    plain("instance, CT circle of -1500", error_beyond_air(lambda side: padded(-1500, side), "instance"), 0.0, 0.2),
    slow(plain("demons, CT circle of -3024", error_beyond_air(lambda side: padded(-3024, side), "sitk-demons"), 0.0, 0.3)),
    plain("instance, z-scored brain", dice_below_stripped(z_scored, "instance"), 0.0, 0.02),
    slow(plain("demons, z-scored brain", dice_below_stripped(z_scored, "sitk-demons"), 0.0, 0.02)),
    slow(plain("instance, inverted brain on white", dice_below_stripped(lambda side: np.where(brain(side), 1100 - head(side), 1100), "instance"), 0.0, 0.05)),
]  # fmt: skip
