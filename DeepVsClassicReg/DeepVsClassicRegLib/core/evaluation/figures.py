"""Pictures of volumes on three orthogonal planes in radiological orientation, in rows at the same physical scale."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..files import atomic
from ..images.grid import Grid
from ..images.intensity import background_value, robust_range
from ..images.resample import Mapping as PointMap
from ..images.resample import warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..transforms.transform import Transform
from .colors import FIXED_TINT, FOLD, WARPED_TINT
from .evaluate import Evaluation
from .plotting import INK, PANEL, Draw, diverging, new_figure, rising
from .region import Ready, fixed_region

Picture = npt.NDArray[np.float32]
MOST_PIXELS = 420
MARGIN = 0.06
# Per plane: the anatomical axis (0 left, 1 posterior, 2 superior) to the right, downward and through the plane, with
# its sign, and the letters at the left, right, upper and lower edge. Patient right is on the left of the image.
LAYOUT = {
    "Axial": ((0, 1), (1, 1), 2, "RLAP"),
    "Coronal": ((0, 1), (2, -1), 1, "RLSI"),
    "Sagittal": ((1, 1), (2, -1), 0, "APSI"),
}
WIDTH_IN = 11.0
LEFT_IN, RIGHT_IN, TOP_IN, GAP_IN = 0.42, 0.12, 0.34, 0.08
HIGHEST_ROW_IN = 4.1
Row = tuple[str, Draw]
EDGES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.985, "center", "top"),
    (0.5, 0.015, "center", "bottom"),
)
SIDE = 144  # pixels of one of the two pictures
GAP = 4
QUALITY = 80


@dataclass(frozen=True)
class Plane:
    """The plane of a picture in the patient.

    Attributes
    ----------
    name : str
        'Axial', 'Coronal' or 'Sagittal'.
    grid : Grid
        A grid one voxel thick with square pixels; its first axis points right, its second down.
    letters : str
        Letters at the left, right, upper and lower edge.
    """

    name: str
    grid: Grid
    letters: str

    @property
    def width_mm(self) -> float:
        """Width of the picture."""
        return float(self.grid.extent_mm[0])

    @property
    def height_mm(self) -> float:
        """Height of the picture."""
        return float(self.grid.extent_mm[1])


def planes_of(grid: Grid, inside: npt.NDArray[np.bool_]) -> tuple[Plane, ...]:
    """Return the three planes through the middle of a region, cropped to the region with a margin.

    The planes follow the axes of the volume, each assigned to the nearest anatomical axis, so that oblique volumes have
    no blank corners.

    Parameters
    ----------
    grid : Grid
        The fixed grid.
    inside : (Z, Y, X) bool array
        Region to show.
    """
    order = _anatomical(grid)
    places = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {2 - axis}))) for axis in range(3)]
    low, high = np.array([[p[0], p[-1]] for p in places], dtype=float).T
    margin = MARGIN * (high - low).max() * max(grid.spacing_mm) / np.array(grid.spacing_mm)
    low = np.maximum(low - margin, 0)
    high = np.minimum(high + margin, np.array(grid.size) - 1)
    middle = _middle(inside)
    planes = []
    for name, (right, down, through, letters) in LAYOUT.items():
        turned = _plane_grid(grid, order, (right, down, through), (low, high, middle))
        planes.append(Plane(name, turned, letters))
    return tuple(planes)


class Slices:
    """Samples the volumes of a pair on the three planes; only the displayed pixels are computed.

    Parameters
    ----------
    pair : Pair
        The volumes.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.region, _ = fixed_region(pair)
        self.planes = planes_of(pair.fixed.grid, self.region)
        self._fill = background_value(pair.moving)
        self._ranges = _display_range(pair.fixed), _display_range(pair.moving)

    def fixed(self) -> list[Picture]:
        """Return the fixed volume, 0..1."""
        fill = background_value(self.pair.fixed)
        return [_scaled(_sample(self.pair.fixed, plane, None, fill), self._ranges[0]) for plane in self.planes]

    def moving(self, transform: PointMap | None = None) -> list[Picture]:
        """Return the moving volume resampled with a fixed-to-moving transform, 0..1."""
        fill = self._fill
        return [_scaled(_sample(self.pair.moving, p, transform, fill), self._ranges[1]) for p in self.planes]

    def values(self, volume: Volume, *, fill: float) -> list[Picture]:
        """Return the values of another volume, `fill` outside of it."""
        return [_sample(volume, plane, None, fill) for plane in self.planes]

    def scaled(self, volume: Volume, low: float, high: float) -> list[Picture]:
        """Return another volume with the intensities `low` to `high` as 0..1, `low` outside of it."""
        return [_scaled(values, (low, high)) for values in self.values(volume, fill=low)]

    def labels(self, labels: LabelMap, transform: PointMap | None = None) -> list[npt.NDArray[np.int32]]:
        """Return a label map in fixed space, or another one resampled with a fixed-to-moving transform."""
        return [warp_labels(labels, plane.grid, transform).array[0] for plane in self.planes]

    def inside(self) -> list[npt.NDArray[np.bool_]]:
        """Return the evaluated region."""
        region = LabelMap(self.region.astype(np.int32), self.pair.fixed.grid)
        return [labels > 0 for labels in self.labels(region)]


def _sample(volume: Volume, plane: Plane, transform: PointMap | None, fill: float) -> Picture:
    return warp_volume(volume, plane.grid, transform, fill=fill).array[0]


def _display_range(volume: Volume) -> tuple[float, float]:
    every = tuple(slice(None, None, max(1, n // 96)) for n in volume.grid.shape)
    coarse = volume.array[every]
    return robust_range(coarse if volume.valid is None else coarse[volume.valid[every]], low=0.5, high=99.7)


def _scaled(values: Picture, limits: tuple[float, float]) -> Picture:
    low, high = limits
    return np.asarray(np.clip((values - low) / max(high - low, 1e-12), 0, 1), dtype=np.float32)


def _anatomical(grid: Grid) -> list[tuple[int, float]]:
    """Return the nearest index axis and its sign for left, posterior and superior."""
    axes = grid.axes
    best = max(itertools.permutations(range(3)), key=lambda order: sum(abs(axes[w, order[w]]) for w in range(3)))
    return [(best[world], 1.0 if axes[world, best[world]] >= 0 else -1.0) for world in range(3)]


def _middle(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the centroid (i, j, k) of a region."""
    counts = [inside.sum(axis=tuple({0, 1, 2} - {2 - axis}), dtype=float) for axis in range(3)]
    return np.array([(np.arange(len(c)) * c).sum() / c.sum() for c in counts])


def _plane_grid(
    grid: Grid,
    order: list[tuple[int, float]],
    layout: tuple[tuple[int, int], tuple[int, int], int],
    box: tuple[npt.NDArray[np.float64], ...],
) -> Grid:
    low, high, middle = box
    (right, right_sign), (down, down_sign), through = layout
    first, second, third = order[right][0], order[down][0], order[through][0]
    signs = right_sign * order[right][1], down_sign * order[down][1]
    spacing = np.array(grid.spacing_mm)
    lengths = ((high - low + 1) * spacing)[[first, second]]
    pixel = max(min(spacing[first], spacing[second]) / 1.5, lengths.max() / MOST_PIXELS)
    size = np.maximum(2, np.round(lengths / pixel)).astype(int)
    corner = np.rint(middle)
    for axis, sign in zip((first, second), signs, strict=True):
        half = 0.5 - pixel / spacing[axis] / 2
        corner[axis] = low[axis] - half if sign > 0 else high[axis] + half
    columns = np.stack([signs[0] * grid.axes[:, first], signs[1] * grid.axes[:, second], grid.axes[:, third]], axis=1)
    origin = grid.index_to_point(corner)
    return Grid(
        (int(size[0]), int(size[1]), 1),
        (float(pixel), float(pixel), float(spacing[third])),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(value) for value in columns.ravel()),
    )


@dataclass(frozen=True, eq=False)
class Side:
    """The moving volume before or after registration.

    Attributes
    ----------
    title : str
        'Before' or 'After'.
    volumes : list of Picture
        The volume on the planes, 0 to 1.
    mapping : Ready or None
        Fixed-to-moving transform; None when only the headers are used.
    """

    title: str
    volumes: list[Picture]
    mapping: Ready | None = None


class Pictures:
    """The volumes of one registration on three planes, as input of the views.

    Parameters
    ----------
    pair : Pair
        The registered pair.
    transform : Transform
        The fixed-to-moving transform.
    evaluation : Evaluation
        Measures and volumes of the registration.
    """

    def __init__(self, pair: Pair, transform: Transform, evaluation: Evaluation) -> None:
        self.pair = pair
        self.transform = Ready(transform)
        self.evaluation = evaluation
        self.slices = Slices(pair)
        self.fixed = self.slices.fixed()
        self.before = Side("Before", self.slices.moving())
        self.after = Side("After", self.slices.moving(self.transform), self.transform)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes of the pictures."""
        return self.slices.planes


@dataclass(frozen=True)
class Bar:
    """A color bar below a picture.

    Attributes
    ----------
    title : str
        Quantity with its unit.
    low, high : float
        Values at its ends.
    names : mapping of float to str
        Values with a name.
    fold : bool
        Whether the color of folds is shown.
    signed : bool
        Whether both signs are shown; other scales begin at zero.
    """

    title: str
    low: float
    high: float
    names: Mapping[float, str]
    fold: bool = False
    signed: bool = True


def strip(planes: Sequence[Plane], rows: Sequence[Row], *, bar: Bar | None = None) -> Any:
    """Return a figure with one row per entry and one column per plane, all at the same physical scale.

    Parameters
    ----------
    planes : sequence of Plane
        The columns.
    rows : sequence of (title, draw)
        `draw(axes, n)` draws the n-th plane on a `PictureAxes`.
    bar : Bar, optional
        Color bar below.
    """
    widths = np.array([plane.width_mm for plane in planes])
    tallest = max(plane.height_mm for plane in planes)
    inner = WIDTH_IN - LEFT_IN - RIGHT_IN - GAP_IN * (len(planes) - 1)
    scale = min(inner / widths.sum(), HIGHEST_ROW_IN / tallest)
    margin = LEFT_IN + (inner - widths.sum() * scale) / 2
    row_height = tallest * scale
    bottom = 0.85 if bar else 0.1
    height = TOP_IN + len(rows) * row_height + (len(rows) - 1) * GAP_IN + bottom
    figure = new_figure(WIDTH_IN, height, dark=True)
    axes = figure.add_axes((0, 0, 1, 1), autoscale_on=False, xlim=(0, WIDTH_IN), ylim=(0, height))
    axes.set_axis_off()
    for r, (title, draw) in enumerate(rows):
        upper = height - TOP_IN - r * (row_height + GAP_IN)
        middle = (upper - row_height / 2) / height
        figure.text(0.15 / WIDTH_IN, middle, title, rotation=90, color=INK, fontsize=11, ha="center", va="center")
        left = margin
        for n, plane in enumerate(planes):
            width, tall = plane.width_mm * scale, plane.height_mm * scale
            low = upper - (row_height + tall) / 2
            part = PictureAxes(axes, plane, (left, low, width, tall))
            draw(part, n)
            part.write_letters()
            if r == 0:
                center = (left + width / 2) / WIDTH_IN
                figure.text(center, 1 - 0.17 / height, plane.name, color=INK, fontsize=11, ha="center", va="center")
            left += width + GAP_IN
    if bar:
        _color_bar(figure, height, bar)
    return figure


class PictureAxes:
    """A part of the axes of a figure, on which views draw in pixels of the picture of a plane.

    One axes for all pictures of a figure takes a fraction of the time of one axes each. The methods are those of
    matplotlib's axes.

    Parameters
    ----------
    axes : Axes
        Its data coordinates are inches.
    plane : Plane
        The plane.
    box : tuple of 4 float
        Left and lower edge, width and height in inches.
    """

    def __init__(self, axes: Any, plane: Plane, box: tuple[float, float, float, float]) -> None:
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import Affine2D

        self._axes, self._letters, self._box = axes, plane.letters, box
        left, low, width, height = box
        scale = width / plane.grid.size[0], -height / plane.grid.size[1]
        placed = Affine2D().translate(0.5, 0.5).scale(*scale).translate(left, low + height)
        self._transform = placed + axes.transData
        self._frame = axes.add_patch(Rectangle((left, low), width, height, facecolor="black", zorder=-1))

    def imshow(self, picture: npt.NDArray[Any], **options: Any) -> None:
        """Draw a picture."""
        self._axes.imshow(picture, **{**options, "aspect": "auto"}).set_transform(self._transform)

    def contour(self, values: npt.NDArray[Any], **options: Any) -> None:
        """Draw contours."""
        self._axes.contour(values, transform=self._transform, **options).set_clip_path(self._frame)

    def add_collection(self, collection: Any) -> None:
        """Draw lines."""
        collection.set_transform(self._transform)
        self._axes.add_collection(collection, autolim=False)
        collection.set_clip_path(self._frame)

    def write_letters(self) -> None:
        """Write the letters of the directions at the edges."""
        from matplotlib.patheffects import withStroke

        left, low, width, height = self._box
        for letter, (x, y, horizontal, vertical) in zip(self._letters, EDGES, strict=True):
            place = left + x * width, low + y * height
            text = self._axes.text(*place, letter, color="white", fontsize=9.5, ha=horizontal, va=vertical)
            text.set_path_effects([withStroke(linewidth=2.2, foreground="black")])


def _color_bar(figure: Any, height: float, bar: Bar) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_axes((0.33, 0.46 / height, 0.34, 0.13 / height))
    colors = ScalarMappable(Normalize(bar.low, bar.high), diverging() if bar.signed else rising())
    drawn = figure.colorbar(colors, cax=axes, orientation="horizontal", ticks=list(bar.names))
    drawn.set_ticklabels(list(bar.names.values()))
    drawn.outline.set_edgecolor(PANEL)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    figure.text(0.31, 0.525 / height, bar.title, color=INK, fontsize=10, ha="right", va="center")
    if bar.fold:
        figure.text(0.70, 0.525 / height, "■", color=FOLD, fontsize=13, ha="left", va="center")
        figure.text(0.725, 0.525 / height, "folded (no inverse)", color=INK, fontsize=10, ha="left", va="center")


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
    fixed, before, after = slices.fixed()[0], slices.moving()[0], slices.moving(Ready(transform))[0]
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
