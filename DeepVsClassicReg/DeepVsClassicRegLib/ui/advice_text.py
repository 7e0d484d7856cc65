"""The advice as rich text: a headline, numbered reasons and limits."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from ..mrml.advice import band_text, entry_of, entry_title, seconds_text

SURE, UNSURE = ("#3a9d5d", "✔"), ("#d98c00", "?")


def headline(advice: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return the recommendation in one sentence, with the expected quality and time."""
    entry = entry_of(advice)
    name = html.escape(entry_title(entry, titles))
    color, mark = SURE if advice["sure"] else UNSURE
    said = _("Use {engine}").format(engine=name) if advice["sure"] else _("No clear recommendation")
    first = f'<span style="color:{color}; font-size:large"><b>{mark}&nbsp;{said}</b></span>'
    rest = expectation(advice, entry)
    if advice["runner_up"]:
        second = html.escape(entry_title(advice["runner_up"], titles))
        rest = f"{rest} {_('Runner-up: {engine}.').format(engine=second)}".strip()
    if not advice["sure"]:
        begin = _("The evidence is not sufficient. To register anyway, start with {engine} and check the result.")
        rest = f"{begin.format(engine=f'<b>{name}</b>')} {rest}"
    return f"{first}<br>{rest}".removesuffix("<br>")


def expectation(advice: Mapping[str, Any], entry: str) -> str:
    """Return the expected Dice and time of an engine, as far as they are known."""
    band, seconds = (advice.get("predicted_dice") or {}).get(entry), (advice.get("seconds") or {}).get(entry)
    if band and seconds is not None:
        return _("Expected Dice {band}, about {time}.").format(band=band_text(band), time=seconds_text(seconds))
    if band:
        return _("Expected Dice {band}.").format(band=band_text(band))
    if seconds is not None:
        return _("About {time}; no Dice can be predicted.").format(time=seconds_text(seconds))
    return ""


def reasons(advice: Mapping[str, Any]) -> str:
    """Return the reasons as a numbered list, each with its source."""
    items = [
        f"<li>{html.escape(reason['text'])} <small>[{html.escape(reason['source'])}]</small></li>"
        for reason in advice["reasons"]
    ]
    return f'<ol style="margin-left:-20px">{"".join(items)}</ol>'


def limits(texts: Sequence[str]) -> str:
    """Return the limits of the advice as a list."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<ul style="margin-left:-20px">{items}</ul>'


def faint(text: str) -> str:
    """Return a secondary remark in the normal text color; gray is hard to read on a dark style."""
    return f"<small>{html.escape(text)}</small>"
