"""Model folders: only the right weights are ever loaded, and they are found where they may lie."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.networks.card import CARD_FILE, WEIGHTS_FILE, Card, from_json, read_card
from DeepVsClassicRegLib.core.networks.catalogue import get_method
from DeepVsClassicRegLib.core.networks.model_store import (
    MODELS_VARIABLE,
    find_models,
    fresh_network,
    get_model,
    load_model,
    save_model,
)
from safetensors.torch import save

CARD = Card(
    name="small",
    title="Small",
    summary="A small one.",
    method="voxelmorph",
    settings={"encoder": [4, 4], "decoder": [4, 4]},
    spacing_mm=2.0,
    size=(32, 32, 1),
    dimensions=2,
    supervised_labels={"3": "left"},
)


def network():
    torch.manual_seed(1)
    module = fresh_network(CARD)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "small", CARD, network())
    return tmp_path / "small"


def replace_weights(folder, content, *, true_hash):
    """Put other bytes in the place of the weights, and maybe their hash on the card."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    if true_hash:
        card = json.loads((folder / CARD_FILE).read_text())
        (folder / CARD_FILE).write_text(json.dumps({**card, "sha256": hashlib.sha256(content).hexdigest()}))


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path, half):
    module = network().eval()
    card = save_model(tmp_path, CARD, module, half=half)
    found, loaded = load_model(tmp_path)
    assert found == card == dataclasses.replace(CARD, sha256=card.sha256)
    image = torch.rand(1, 1, 32, 32)
    wanted, got = module(image, image.flip(2)), loaded(image, image.flip(2))
    apart = (wanted.displacement - got.displacement).abs().max()
    assert wanted.displacement.abs().max() > 0.1
    assert apart < 0.02 if half else apart == 0


def test_drawing_fresh_weights_leaves_the_generator_alone(folder):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_corrupted_weights_are_refused(folder):
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-3] ^= 1
    replace_weights(folder, bytes(content), true_hash=False)
    with pytest.raises(FileError, match="sha256 differs"):
        load_model(folder)


def test_swapped_weights_are_refused(folder):
    other = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    replace_weights(folder, save(other), true_hash=False)
    with pytest.raises(FileError, match="sha256 differs"):
        load_model(folder)


def test_pickles_are_refused_unread(folder):
    replace_weights(folder, pickle.dumps(_Trap()), true_hash=True)
    with pytest.raises(FileError, match="not a safetensors file"):
        load_model(folder)


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("kind", ["missing", "shape", "extra", "nan"])
def test_weights_that_do_not_fit_are_refused(folder, kind):
    state = {name: tensor.clone() for name, tensor in network().state_dict().items()}
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    if kind == "missing":
        del state[name]
    elif kind == "shape":
        state[name] = state[name][:1].clone()
    elif kind == "extra":
        state["other"] = torch.zeros(1)
    else:
        state[name][0, 0, 0, 0] = float("nan")
    replace_weights(folder, save(state), true_hash=True)
    with pytest.raises(FileError, match="not finite" if kind == "nan" else "does not fit"):
        load_model(folder)


def test_missing_files_are_reported(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(FileError, match="Could not read"):
        load_model(folder)
    (folder / CARD_FILE).unlink()
    with pytest.raises(FileError, match="Could not read"):
        load_model(folder)


def test_unknown_method_or_setting(folder):
    for change in ({"method": "voxelmorf"}, {"settings": {"depth": 3}}):
        card = json.loads((folder / CARD_FILE).read_text())
        (folder / CARD_FILE).write_text(json.dumps({**card, **change}))
        with pytest.raises(SettingsError, match=r"no method|no setting"):
            load_model(folder)


def test_weights_too_large_for_16_bits(tmp_path):
    module = network()
    with torch.no_grad():
        next(module.parameters()).fill_(1e6)
    with pytest.raises(FileError, match="16 bits"):
        save_model(tmp_path, CARD, module, half=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [1, 2]}, "'size'"),
        ({"size": [32, 32, True]}, "'size'"),
        ({"spacing_mm": 0}, "'spacing_mm'"),
        ({"dimensions": 4}, "'dimensions'"),
        ({"name": 3}, "'name'"),
        ({"settings": []}, "'settings'"),
        ({"nam": "x"}, "unknown entry 'nam'"),
        ({"method": None}, "'method'"),
    ],
)
def test_cards_are_checked(change, message):
    content = json.loads(json.dumps(CARD.to_json()))
    assert from_json(content) == CARD
    with pytest.raises(FileError, match=message):
        from_json({**content, **change})
    del content["method"]
    with pytest.raises(FileError, match="lacks method"):
        from_json(content)


def test_models_are_found_in_order(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "more"))
    save_model(tmp_path / "more" / "x", dataclasses.replace(CARD, name="second"), network())
    save_model(tmp_path / "more" / "y", dataclasses.replace(CARD, name="small"), network())
    (tmp_path / "more" / "broken").mkdir()
    (tmp_path / "more" / "broken" / CARD_FILE).write_text("{")
    found = {model.card.name: model for model in find_models([folder]) if not model.bundled}
    assert found["small"].folder == folder  # the first of two with the same name
    assert found["second"].folder == tmp_path / "more" / "x"
    assert set(found) == {"small", "second"}
    assert "broken" in caplog.text
    assert get_model("second").card.name == "second"
    assert get_model(str(folder)).folder == folder
    with pytest.raises(FileError, match="no model 'secnd'") as error:
        get_model("secnd")
    assert "second" in error.value.hint


def test_finding_models_does_not_load_torch(folder):
    code = (
        "import sys; from pathlib import Path\n"
        "from DeepVsClassicRegLib.core.networks.model_store import find_models\n"
        f"assert any(m.card.name == 'small' for m in find_models([Path({str(folder)!r})]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def _environment():
    from DeepVsClassicRegLib.worker.processes import worker_environment

    return worker_environment()


def test_card_is_readable_by_people(folder):
    assert read_card(folder).supervised_labels == {"3": "left"}
    assert (folder / CARD_FILE).read_text().count("\n") > 10
    assert get_method(read_card(folder).method).info.name == "voxelmorph"
