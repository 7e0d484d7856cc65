"""The alignment of serial sections by an engine of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..device import Compute
from ..engines.catalogue import get_engine
from ..engines.registration import register
from ..images.sections import Sections, read_sections
from ..pair import Pair
from ..progress import Progress
from ..settings import DEFAULT, from_json, make_settings
from ..transforms.transform import Transform
from .align import NONE, AlignedStack, StackSettings, align_sections

# The default smoothing of `instance` straightens what is curved (Testing/bench/STACKS.md).
PRESETS = {"instance": "sections"}


def stack(
    sections: Sections | str | os.PathLike[str],
    engine: str = "instance",
    *,
    preset: str = "",
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    **alignment: Any,
) -> AlignedStack:
    """Align serial sections, each to its aligned neighbors, from a reference section outwards.

    Parameters
    ----------
    sections : Sections or path
        A folder of 2D images or a volume; `images.sections.read_sections` has options for axis and pixel size.
    engine, preset : str
        Deformable engine of the sections; 'none' aligns linearly only. Without a preset: 'sections' of `instance`,
        which is smooth enough not to straighten what is curved, the default settings of other engines.
    settings : mapping, optional
        Settings of the engine changed from the preset, such as `{"similarity": "features:my-model"}`.
    device, threads, seed, progress
        As for `register`.
    **alignment
        Fields of `stacks.align.StackSettings`: reference, neighbors, linear, turn_deg, drift.

    Raises
    ------
    RegistrationError
        When the sections or a setting are invalid, or a package is missing.

    Examples
    --------
    >>> import DeepVsClassicRegLib as dvc
    >>> from DeepVsClassicRegLib.core.images.sections import Sections
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    >>> volume = make_phantom("head", size=32).pair.fixed
    >>> found = dvc.stack(Sections(volume, tuple(map(str, range(32)))), "none", turn_deg=0, threads=1)
    >>> found.maps_px.shape
    (32, 2, 32, 32)
    """
    given = sections if isinstance(sections, Sections) else read_sections(sections)
    wanted = from_json(StackSettings, alignment)
    compute = Compute(device=device, threads=threads, seed=seed)
    if engine == NONE:
        return align_sections(given, wanted, compute=compute, progress=progress)
    chosen = get_engine(engine)
    preset = preset or PRESETS.get(engine, DEFAULT)
    make_settings(chosen.info.settings, engine, preset, settings)
    chosen.info.require()
    listener = progress or Progress()

    def registered(pair: Pair) -> Transform:
        checks = Progress(cancelled=listener.cancelled)
        options: dict[str, Any] = {"device": device, "threads": threads, "seed": seed, "progress": checks}
        return register(pair, engine, preset=preset, settings=settings, **options).transform

    return align_sections(
        given,
        wanted,
        register=registered,
        single_slices=chosen.info.single_slices,
        compute=compute,
        progress=listener,
    )
