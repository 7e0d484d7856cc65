"""Events survive the wire, whatever else is on it."""

from __future__ import annotations

import json
import random

from DeepVsClassicRegLib.worker.protocol import LONGEST_LINE, Decoder, Event, LineSplitter, encode


def test_round_trip_in_any_pieces():
    sent = [("progress", {"fraction": 0.25, "stage": "Ünïcode — 日本"}), ("note", {"text": "two\nlines"})]
    wire = b"".join(encode(kind, **data) for kind, data in sent)
    assert wire.isascii() and wire.count(b"\n") == 2
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(len(wire)), 6))
        decoder = Decoder()
        pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert events == [Event(kind, data) for kind, data in sent]


def test_infinite_metric_is_valid_json():
    line = encode("progress", metric=float("nan"), trace=[float("inf"), 1.0])
    assert json.loads(line, parse_constant=lambda _: 1 / 0) == {"event": "progress", "metric": None, "trace": [None, 1]}


def test_noise_never_hides_an_event():
    event = encode("note", text="here")
    decoder = Decoder()
    found = decoder.feed(
        b"\xff\xfe garbage\n{}\n[1]\n\nprefix " + event.rstrip() + b" suffix " + event + b'{"event":\n'
    )
    assert [e.kind for e in found if e.kind != "noise"] == ["note", "note"]
    assert [e.text for e in found if e.kind == "noise"] == [
        "\ufffd\ufffd garbage",
        "{}",
        "[1]",
        "prefix",
        " suffix",
        '{"event":',
    ]
    assert decoder.feed(encode("note", text="still alive"))[0].text == "still alive"


def test_unfinished_line_is_kept_and_bounded():
    decoder = Decoder()
    assert decoder.feed(b'{"event":"note","text":"x"}') == []
    assert decoder.finish() == [Event("note", {"text": "x"})]
    assert decoder.feed(b"y" * (LONGEST_LINE + 1))[0].kind == "noise"
    assert decoder.finish() == []


def test_log_lines():
    splitter = LineSplitter()
    assert splitter.feed(b"10%\r20%\nhal") == ["10%", "20%"]
    assert splitter.feed("f é".encode()[:-1]) == []
    assert splitter.finish() == ["half \ufffd"]
