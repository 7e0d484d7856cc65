"""The models that ship: small, described, loadable, and right about pairs whose answer is known."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.engines.error_map import error_model, estimate_error
from DeepVsClassicRegLib.core.engines.network.model_choice import choose_model
from DeepVsClassicRegLib.core.files import resource_folder
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.networks.card import read_card
from DeepVsClassicRegLib.core.networks.model_store import get_model, size_mb
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.recommendation.domain import DomainStatistics
from DeepVsClassicRegLib.core.settings import make_settings
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant, regularity
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

FOLDERS = sorted(path.parent for path in (resource_folder() / "Models").glob("*/card.json"))
REGISTERING = [folder for folder in FOLDERS if read_card(folder).kind == "field"]
SPECIALISTS = [folder for folder in REGISTERING if read_card(folder).domain.get("most_alike")]
GENERAL = [folder for folder in REGISTERING if folder not in SPECIALISTS]
SEGMENTING = [folder for folder in FOLDERS if read_card(folder).kind == "segmentation"]
each_model = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
each_general_model = pytest.mark.parametrize("folder", GENERAL, ids=lambda folder: folder.name)
each_specialist = pytest.mark.parametrize("folder", SPECIALISTS, ids=lambda folder: folder.name)
MOST_MB = 8


@pytest.fixture(scope="module")
def head():
    phantom = make_phantom("head", size=48)
    return phantom, phantom.pair.without_annotations().replace(initial=Transform((phantom.warp.affine,)))


def run(pair, folder):
    engine = get_engine("network")
    settings = make_settings(engine.info.settings, "network", changes={"model": str(folder)})
    return engine.run(pair, settings, Progress(), Compute("cpu", 1))


@each_model
def test_the_card_is_complete(folder):
    card = read_card(folder)
    assert card.name == folder.name
    assert size_mb(get_model(str(folder))) <= MOST_MB
    for text in (card.title, card.summary, card.citation, card.licence, card.sha256, card.contrasts, card.anatomy):
        assert text
    for entry in ("data", "data_licence", "steps", "hours", "command"):
        assert card.training.get(entry), entry
    assert card.validation
    assert DomainStatistics.from_json(card.domain).count > 1


@each_general_model
def test_known_warp_is_found_without_folds(folder, head):
    phantom, pair = head
    grid, inside = pair.fixed.grid, phantom.pair.fixed_labels.mask()
    truth = phantom.truth.displacement_on(grid).array_mm
    transform = run(pair, folder).transform

    def missed(found):
        return np.linalg.norm(found.displacement_on(grid).array_mm - truth, axis=-1)[inside].mean()

    assert missed(transform) < 0.6 * missed(pair.initial)
    assert regularity(jacobian_determinant(transform, grid)).folding_percent < 0.01


@each_general_model
def test_equal_volumes_stay_where_they_are(folder, head):
    _, pair = head
    transform = run(pair.replace(moving=pair.fixed, initial=None), folder).transform
    moved = np.linalg.norm(transform.displacement_on(pair.fixed.grid).array_mm, axis=-1)
    assert moved.mean() < 0.25 * min(pair.fixed.grid.spacing_mm)


@each_specialist
def test_a_specialist_is_used_in_its_domain_only(folder, head):
    """It moves structures toward the mean shape of its labels, which harms other anatomy and scans of one subject."""
    card = read_card(folder)
    statistics = DomainStatistics.from_json(card.domain)
    assert card.supervised_labels and statistics.most_alike < statistics.likeness_limit < 1
    assert choose_model(head[1], "auto").model.card.name != card.name
    named = choose_model(head[1], card.name)
    assert not named.in_domain and any(note.startswith("The fixed volume differs") for note in named.notes)


def test_the_shipped_error_model_is_small_and_knows_its_limits():
    card = read_card(error_model().folder)
    assert card.kind == "error" and card.contrasts == "any" and card.anatomy == "any"
    assert (error_model().folder / "weights.safetensors").stat().st_size <= 2e6
    assert card.training["largest_error_voxels"] > 5
    assert set(card.validation["calibration"]) == {f"{level:g}" for level in card.settings["quantiles"]}


def test_the_shipped_error_model_sees_a_shift(head):
    """A head against itself in an inverted contrast: the estimate rises with the shift, and is low without one."""
    fixed = head[1].fixed
    inverted = Volume((fixed.array.max() - fixed.array) * (fixed.array > 0), fixed.grid)
    estimates = []
    for shift in (0.0, 4.0, 8.0):
        moved = Transform((Affine.shift([shift, 0.0, 0.0]),))
        found = estimate_error(Pair(fixed, inverted), moved, threads=1)
        estimates.append(found.measures()["estimated_error_mm_median"])
    assert estimates[0] < 1 and estimates[1] > 2 * estimates[0] and 4 < estimates[2] < 16


@pytest.mark.parametrize("folder", SEGMENTING, ids=lambda folder: folder.name)
def test_a_segmentation_model_segments_a_head(folder, head):
    from DeepVsClassicRegLib.core.engines.segmentation import segment, segmentation_model
    from DeepVsClassicRegLib.core.images.freesurfer import STRUCTURES

    model = segmentation_model(str(folder))
    known = {int(label) for label in model.card.supervised_labels}
    assert size_mb(model) <= 4 and known <= set(STRUCTURES)
    found = segment(head[1].fixed, model=str(folder), device="cpu", threads=1)
    assert found.grid == head[1].fixed.grid and set(found.labels) <= known
