"""Samples of the module Sample Data that are generated on this computer instead of being downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer
from SampleData import SampleDataSource

from ..core.images.io import write_labels, write_volume
from ..core.images.points import write_points

TYPES = {
    "fixed": "VolumeFile",
    "moving": "VolumeFile",
    "fixed_labels": "SegmentationFile",
    "moving_labels": "SegmentationFile",
    "fixed_points": "MarkupsFile",
    "moving_points": "MarkupsFile",
}
WRITERS: dict[str, tuple[Callable[[Any, Path], Path], str]] = {
    "VolumeFile": (write_volume, ".nrrd"),
    "SegmentationFile": (write_labels, ".seg.nrrd"),
    "MarkupsFile": (write_points, ".mrk.json"),
}


class GeneratedSample(SampleDataSource):
    """A phantom pair among the sample data, for the button as well as for `SampleData.downloadSample`.

    Slicer downloads what `uris` names, unless its cache has files of these names. So the files are written into the
    cache when Slicer asks for `uris`, and nothing is ever downloaded.

    Parameters
    ----------
    name : str
        Name of the sample, and beginning of its file names.
    titles : mapping of str to str
        Role (see `TYPES`) -> name of its node.
    generate : callable
        Returns the pair.
    button : callable
        Called with this sample by the button of the module.
    thumbnail : str
        Picture of the button.
    """

    def __init__(
        self, name: str, titles: Mapping[str, str], generate: Callable, button: Callable, thumbnail: str = ""
    ) -> None:
        self._generate = generate
        files = [f"{name}-{role}{WRITERS[TYPES[role]][1]}" for role in titles]
        self._roles = dict(zip(titles, files, strict=True))
        super().__init__(
            sampleName=name,
            uris=files,
            fileNames=files,
            nodeNames=list(titles.values()),
            loadFileType=[TYPES[role] for role in titles],
            customDownloader=button,
            thumbnailFileName=thumbnail or None,
        )

    def __str__(self) -> str:  # Slicer's own one reads `uris`; samples are compared by it
        return f"{type(self).__name__} {self.sampleName}"

    @property
    def uris(self) -> list[str]:
        """Addresses of the files, which are written first when one is missing."""
        folder = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
        files = {role: folder / name for role, name in self._roles.items()}
        if not all(path.is_file() for path in files.values()):
            self._write(files)
        return [path.as_uri() for path in files.values()]

    @uris.setter
    def uris(self, _addresses: Any) -> None:
        """Ignore the addresses that the constructor of Slicer sets."""

    def _write(self, files: Mapping[str, Path]) -> None:
        pair = self._generate()
        for role, path in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as draft:  # an interrupted file is not taken for complete
                write = WRITERS[TYPES[role]][0]
                write(getattr(pair, role), Path(draft) / path.name).replace(path)
