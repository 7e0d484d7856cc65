"""A small picture of a registration for lists of many: the two volumes over each other, before and after."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..files import atomic
from ..pair import Pair
from ..transforms.transform import Transform
from .colors import FIXED_TINT, WARPED_TINT
from .planes import Picture, Slices

SIDE = 144  # pixels of one of the two pictures
GAP = 4
QUALITY = 80


def write_thumbnail(path: Path, pair: Pair, transform: Transform) -> Path:
    """Write before and after side by side as a JPEG of 292 x 144 pixels.

    The axial plane of the report is shown, the fixed volume in red, the moving one in cyan: gray where they agree.

    Parameters
    ----------
    path : Path
        The file.
    pair : Pair
        The registered pair.
    transform : Transform
        The fixed-to-moving transform.

    Raises
    ------
    RegistrationError
        When Pillow is not installed (matplotlib installs it).
    FileError
        When the file cannot be written.
    """
    if importlib.util.find_spec("PIL") is None:
        raise RegistrationError("Thumbnails need Pillow, which is not installed.", hint="pip install pillow")
    from PIL import Image

    slices = Slices(pair)
    fixed, before, after = slices.fixed()[0], slices.moving()[0], slices.moving(transform)[0]
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE), (11, 14, 19))
    for number, moving in enumerate((before, after)):
        picture = Image.fromarray(overlay(fixed, moving))
        scale = SIDE / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
        left = number * (SIDE + GAP) + (SIDE - picture.width) // 2
        sheet.paste(picture, (left, (SIDE - picture.height) // 2))
    with atomic(path) as draft:
        sheet.save(draft, format="JPEG", quality=QUALITY, optimize=True)
    return path


def overlay(fixed: Picture, moving: Picture) -> npt.NDArray[np.uint8]:
    """Return the fixed picture in red and the moving one in cyan, (H, W, 3)."""
    colors = fixed[..., None] * np.array(FIXED_TINT) + moving[..., None] * np.array(WARPED_TINT)
    return np.asarray(np.clip(255 * colors, 0, 255), dtype=np.uint8)
