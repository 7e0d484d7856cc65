"""MIND-SSC descriptors in NumPy: the local structure around a voxel, independent of contrast."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
FACES = np.array([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)])


def pairs_of_faces() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the 12 pairs of the six neighbors that are diagonal to each other."""
    found = []
    for a in range(6):
        for b in range(a + 1, 6):
            if int(((FACES[a] - FACES[b]) ** 2).sum()) == 2:
                found.append((tuple(int(v) for v in FACES[a]), tuple(int(v) for v in FACES[b])))
    return found


def mind_ssc(image: Image, *, radius: int = 1, dilation: int = 2) -> Image:
    """Return the 12 self-similarity channels of an image, (12, Z, Y, X), values in 0..1.

    Parameters
    ----------
    image : (Z, Y, X) array
        Intensities.
    radius : int
        Patches of 2 * radius + 1 voxels.
    dilation : int
        Distance of the compared patches from the voxel.

    References
    ----------
    Heinrich et al., MICCAI 2013, doi 10.1007/978-3-642-40811-3_24 (self-similarity context).
    """
    padded = np.pad(image, dilation, mode="edge")
    channels = np.empty((12, *image.shape), np.float32)
    for number, (first, second) in enumerate(pairs_of_faces()):
        difference = _shifted(padded, first, dilation) - _shifted(padded, second, dilation)
        channels[number] = box_mean(difference * difference, radius)
    channels -= channels.min(axis=0)
    spread = channels.mean(axis=0)
    middle = float(spread.mean())
    # The limits keep noise in flat regions from being amplified to structure.
    np.clip(spread, middle * 1e-3, middle * 1e3, out=spread)
    channels /= np.maximum(spread, np.float32(1e-12))
    return np.exp(-channels, out=channels)


def box_mean(image: Image, radius: int) -> Image:
    """Return the mean in the cube of `radius` around every voxel, with repeated border."""
    result = image
    for axis in range(3):
        widths = [(0, 0)] * 3
        widths[axis] = (radius, radius)
        wide = np.pad(result, widths, mode="edge")
        count = result.shape[axis]
        total = np.zeros_like(result)
        for shift in range(2 * radius + 1):
            part = [slice(None)] * 3
            part[axis] = slice(shift, shift + count)
            total += wide[tuple(part)]
        result = total * np.float32(1 / (2 * radius + 1))
    return result


def _shifted(padded: Image, offset: tuple[int, ...], dilation: int) -> Image:
    parts = tuple(
        slice(dilation + o * dilation, n - dilation + o * dilation) for o, n in zip(offset, padded.shape, strict=True)
    )
    return padded[parts]
