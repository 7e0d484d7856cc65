"""Dataclasses as plain JSON values, and back by the types of their fields."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def digits(count: int) -> dict[str, int]:
    """Return metadata of a field whose numbers `jsonable` rounds, those inside of mappings and tuples as well."""
    return {"digits": count}


def jsonable(value: Any, *, places: int | None = None) -> Any:
    """Return the value with plain JSON types only.

    Dataclasses become mappings of their fields, keys strings, arrays and tuples lists, NaN and Inf None.

    Parameters
    ----------
    value : object
        What is made plain.
    places : int, optional
        Decimal places of floating-point numbers; a field with `digits` has its own.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            entry.name: jsonable(getattr(value, entry.name), places=entry.metadata.get("digits", places))
            for entry in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry, places=places) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return jsonable(value.tolist(), places=places)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(entry, places=places) for entry in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if places is None else round(value, places)
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def from_plain(kind: type[T], content: Mapping[str, Any]) -> T:
    """Return the dataclass that `jsonable` made plain.

    Entries that the dataclass does not have are passed over, and None stands for the default: files of other versions
    open.

    Raises
    ------
    KeyError, TypeError, ValueError
        When an entry is missing or has the wrong form.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Place:
    ...     voxel: tuple[int, ...]
    >>> from_plain(Place, {"voxel": [1, 2], "color": "red"})
    Place(voxel=(1, 2))
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"expected an object, got {content!r}")
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _converted(content[name], hints[name]) for name in names if content.get(name) is not None})


def _converted(value: Any, hint: Any) -> Any:
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _converted(value, inner[0])
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_converted(entry, kind) for entry, kind in zip(value, kinds, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {str(key): _converted(entry, inner[1]) for key, entry in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type[Any]", hint), value)
    return hint(value) if hint in (bool, float, int, str) else value
