"""Makes the picture of generated training pairs to check before a training starts.

`python Testing/tools/synthesis_gallery.py OUT.png --data shapes --data labels:FOLDER`: a block of columns per source, a
pair per row: fixed, moving, their structures, and a checkerboard of both structures, which shows what is to be aligned.
"""

from __future__ import annotations

import argparse
import colorsys
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DeepVsClassicReg"))

from DeepVsClassicRegLib.core.networks.base import Batch  # noqa: E402
from DeepVsClassicRegLib.core.training.source_factory import DataSettings, make_source  # noqa: E402

Picture = npt.NDArray[np.uint8]
COLUMNS = ("fixed", "moving", "fixed structures", "moving structures", "checkerboard")
PAPER, INK, FAINT = (16, 18, 22), (236, 239, 244), (150, 156, 168)
TILE, GAP, HEADER, BLOCK_GAP, SQUARES = 136, 4, 58, 26, 6


def main() -> None:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", action="append", help="shapes or labels:FOLDER, one or several")
    parser.add_argument("--rows", type=int, default=7)
    parser.add_argument("--size", type=int, nargs="+", default=[96, 112, 96])
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="first step shown")
    options = parser.parse_args()
    blocks = []
    for spec in options.data or ["shapes"]:
        source = make_source(DataSettings(spec, tuple(options.size), options.spacing), seed=options.seed)
        pairs = [source.sample(options.first + row) for row in range(options.rows)]
        title = "Generated shapes" if spec == "shapes" else "Generated from label maps"
        blocks.append((title, [tiles(pair, row) for row, pair in enumerate(pairs)]))
    picture = page(blocks).quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(options.out, optimize=True)
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB\n")


def tiles(pair: Batch, row: int) -> list[Picture]:
    """Return the five pictures of a pair; rows of volumes show axial, coronal and sagittal cuts in turn."""
    images = [cut(image[0, 0].numpy(), row) for image in (pair.fixed, pair.moving)]
    assert pair.fixed_labels is not None and pair.moving_labels is not None
    maps = []
    for shares in (pair.fixed_labels, pair.moving_labels):
        channels = np.stack([cut(channel.numpy(), row) for channel in shares[0]])
        maps.append(np.where(channels.max(axis=0) >= 0.5, channels.argmax(axis=0) + 1, 0))
    colors = palette(pair.fixed_labels.shape[1])
    grays = [np.repeat((255 * image[..., None]).astype(np.uint8), 3, axis=-1) for image in images]
    painted = [overlaid(gray, colors[labels], labels > 0) for gray, labels in zip(grays, maps, strict=True)]
    return [*grays, *painted, checkered(colors[maps[0]], colors[maps[1]])]


def cut(array: npt.NDArray[np.float32], row: int) -> npt.NDArray[np.float32]:
    """Return a middle slice with the head up; plane images as they are."""
    if array.ndim == 2:
        return array
    axis = row % 3
    plane = np.take(array, array.shape[axis] // 2, axis=axis)
    return plane if axis == 0 else plane[::-1]


def palette(count: int) -> Picture:
    """Return colors of the labels, black first; neighbors in number differ most."""
    hues = [(number * 0.618034) % 1 for number in range(count)]
    colors = [colorsys.hsv_to_rgb(hue, 0.62, 0.98 if n % 2 else 0.82) for n, hue in enumerate(hues)]
    return (255 * np.array([(0, 0, 0), *colors])).astype(np.uint8)


def overlaid(gray: Picture, colors: Picture, inside: npt.NDArray[np.bool_]) -> Picture:
    """Return the image with its structures shining through."""
    mixed = 0.35 * gray + 0.65 * colors
    return np.where(inside[..., None], mixed, gray).astype(np.uint8)


def checkered(first: Picture, second: Picture) -> Picture:
    """Return squares of two pictures in turn; structures that agree cross the squares unbroken."""
    rows, columns = (np.arange(n) * SQUARES // n for n in first.shape[:2])
    return np.where(((rows[:, None] + columns[None]) % 2 == 0)[..., None], first, second)


def page(blocks: list[tuple[str, list[list[Picture]]]]) -> Image.Image:
    """Return the page of all blocks side by side."""
    rows = max(len(pairs) for _, pairs in blocks)
    block = len(COLUMNS) * (TILE + GAP) - GAP
    width = len(blocks) * (block + BLOCK_GAP) + BLOCK_GAP
    sheet = Image.new("RGB", (width, HEADER + rows * (TILE + GAP) + BLOCK_GAP - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (title, pairs) in enumerate(blocks):
        left = BLOCK_GAP + number * (block + BLOCK_GAP)
        pen.text((left, 10), title, INK, ImageFont.load_default(18))
        for column, name in enumerate(COLUMNS):
            pen.text((left + column * (TILE + GAP), HEADER - 20), name, FAINT, ImageFont.load_default(12))
        for row, pictures in enumerate(pairs):
            for column, picture in enumerate(pictures):
                sheet.paste(fitted(picture), (left + column * (TILE + GAP), HEADER + row * (TILE + GAP)))
    return sheet


def fitted(picture: Picture) -> Image.Image:
    """Return the picture in a black tile, as large as fits."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    small = Image.fromarray(np.ascontiguousarray(picture)).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.LANCZOS
    )
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    return tile


if __name__ == "__main__":
    main()
