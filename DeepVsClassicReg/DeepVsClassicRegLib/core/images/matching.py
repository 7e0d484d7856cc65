"""Matches the structures of the fixed and the moving segmentation, and gives them common numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Names that contain only a number: 'Label 3', 'Segment_3', '3'.
GENERIC = re.compile(r"(label|segment|region|structure|class|value)?[\s_#-]*\d*", re.IGNORECASE)
Key = tuple[str, int]


@dataclass(frozen=True)
class Structure:
    """A segment of a segmentation or a label of a label map.

    Parameters
    ----------
    name : str
        Empty when unknown.
    value : int
        Value of its voxels; 0 when it has none yet.
    is_segment : bool
        Segments are identified by name and may get another number; labels of a label map keep their values.
    from_palette : bool
        Whether the name comes from a color table that was made for any image.
    """

    name: str
    value: int = 0
    is_segment: bool = False
    from_palette: bool = False

    @property
    def is_generic(self) -> bool:
        """Whether the name contains only a number."""
        return self.from_palette or GENERIC.fullmatch(self.name.strip()) is not None


@dataclass(frozen=True)
class Numbers:
    """Numbers that have the same meaning on both sides.

    Attributes
    ----------
    fixed, moving : tuple of int
        Number of each structure.
    by_value : tuple of pairs of int
        Places (fixed, moving) of the structures that were matched by value instead of name.
    """

    fixed: tuple[int, ...]
    moving: tuple[int, ...]
    by_value: tuple[tuple[int, int], ...] = ()


def common_numbers(fixed: Sequence[Structure], moving: Sequence[Structure]) -> Numbers:
    """Return numbers for the structures of both sides; the same structure gets the same number.

    Structures are matched by name, without regard to case, blanks and underscores; repeated names are matched
    in order. Those without an equal name are matched by value when the name on either side is generic, such as
    'Segment_3', and no other structure of its side has this value. A single segment on each side is the same
    structure, independent of its name. Label maps keep their values, so two of them are matched by value whatever their
    names are. Segments keep theirs where they are free; the moving ones take those of the fixed ones.

    Examples
    --------
    >>> fixed = [Structure("Liver", 1, True), Structure("Spleen", 2, True)]
    >>> moving = [Structure("spleen", 1, True), Structure("Kidney", 2, True)]
    >>> numbers = common_numbers(fixed, moving)
    >>> numbers.fixed, numbers.moving
    ((1, 2), (2, 3))
    """
    if len(fixed) == len(moving) == 1 and (fixed[0].is_segment or moving[0].is_segment):
        number = next((one.value for one in (*fixed, *moving) if not one.is_segment), fixed[0].value or 1)
        return Numbers((number,), (number,))
    partners, by_value = _partners(fixed, moving)
    back = {j: i for i, j in partners.items()}
    taken = {one.value for one in (*fixed, *moving) if not one.is_segment} | {0}
    own: dict[int, int] = {}
    for place, one in enumerate(fixed):
        other = moving[partners[place]] if place in partners else one
        if not one.is_segment:
            own[place] = one.value
        elif not other.is_segment:
            own[place] = other.value
        else:
            own[place] = _free(one.value, taken)
    theirs: dict[int, int] = {}
    for place, one in enumerate(moving):
        if not one.is_segment:
            theirs[place] = one.value
        else:
            theirs[place] = own[back[place]] if place in back else _free(one.value, taken)
    return Numbers(tuple(own.values()), tuple(theirs.values()), by_value)


def _free(wanted: int, taken: set[int]) -> int:
    number = wanted if wanted not in taken else max(taken) + 1
    taken.add(number)
    return number


def _partners(
    fixed: Sequence[Structure], moving: Sequence[Structure]
) -> tuple[dict[int, int], tuple[tuple[int, int], ...]]:
    keys = dict(_keyed(fixed)), dict(_keyed(moving))
    named = {keys[0][key]: keys[1][key] for key in keys[0] if key[0] and key in keys[1]}
    values = [_unique_values(side) for side in (fixed, moving)]
    by_value = tuple(
        (place, values[1][value])
        for value, place in values[0].items()
        if value in values[1]
        and place not in named
        and values[1][value] not in named.values()
        and _may_match(fixed[place], moving[values[1][value]])
    )
    return {**named, **dict(by_value)}, by_value


def _may_match(first: Structure, second: Structure) -> bool:
    return first.is_generic or second.is_generic or not (first.is_segment or second.is_segment)


def _unique_values(side: Sequence[Structure]) -> dict[int, int]:
    counts = Counter(one.value for one in side)
    return {one.value: place for place, one in enumerate(side) if one.value != 0 and counts[one.value] == 1}


def _keyed(side: Sequence[Structure]) -> Iterator[tuple[Key, int]]:
    """Number repeated names, so that the second 'Tumor' of one side matches the second of the other."""
    seen: Counter[str] = Counter()
    for place, one in enumerate(side):
        name = " ".join(one.name.replace("_", " ").split()).casefold()
        yield (name, seen[name]), place
        seen[name] += 1
