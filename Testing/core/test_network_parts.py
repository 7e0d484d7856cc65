"""Around a network: its grid, what it is shown, what is made of its field, which model is taken."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from DeepVsClassicRegLib.core.api import register  # noqa: E402
from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.engines.catalogue import get_engine  # noqa: E402
from DeepVsClassicRegLib.core.engines.device_fallback import with_cpu_fallback  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.fading import faded  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.grid import model_grid, orientation_axes  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.inputs import make_inputs  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.model_choice import choose_model  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.output import finished_field  # noqa: E402
from DeepVsClassicRegLib.core.errors import Cancelled, EngineFailed, FileError, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks import model_store as model_folders  # noqa: E402
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom  # noqa: E402
from DeepVsClassicRegLib.core.progress import Progress  # noqa: E402
from DeepVsClassicRegLib.core.recommendation.domain import domain_statistics  # noqa: E402
from DeepVsClassicRegLib.core.recommendation.likeness import most_alike  # noqa: E402
from DeepVsClassicRegLib.core.settings import make_settings  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform  # noqa: E402
from DeepVsClassicRegLib.core.transforms.unfold import nodes_below  # noqa: E402
from testing_grids import GRIDS, oblique_grid  # noqa: E402
from testing_models import known_methods, write_demons, write_shift  # noqa: E402

MIDDLE = np.array([3.0, -7.0, 11.0])
START = Affine.about(np.diag([1.05, 0.96, 1.03]), MIDDLE, (2.0, -1.5, 1.0))
SHIFTED = np.array([4.0, -3.0, 2.0])
RIM = MIDDLE + 14 * np.concatenate([np.eye(3), -np.eye(3)])
OBLIQUE = oblique_grid((26, 24, 20), (1.7, 1.8, 2.4), seed=1, left_handed=True)


@pytest.fixture(autouse=True)
def only_our_models(tmp_path, monkeypatch):
    """Nothing that ships or that the user has may decide a test."""
    monkeypatch.setattr(model_folders, "resource_folder", lambda: tmp_path / "nothing")
    monkeypatch.setattr(model_folders, "user_models_folder", lambda: tmp_path / "nothing")
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    with known_methods():
        yield


def ball(grid: Grid, middle=MIDDLE, radius: float = 14.0) -> Volume:
    apart = np.linalg.norm(grid.points() - middle, axis=-1)
    return Volume(np.clip(radius + 2 - apart, 0, 4) * (1 + 0.02 * (grid.points() - middle)[..., 0]), grid)


def run(pair: Pair, engine: str = "network", **changes):
    kind = get_engine(engine)
    settings = make_settings(kind.info.settings, engine, changes=changes)
    return kind.run(pair, settings, Progress(), Compute(device="cpu", threads=1, seed=5))


@pytest.mark.parametrize("fixed", list(GRIDS))
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SLA"])
def test_grid_is_straight_isotropic_and_holds_what_is_seen(fixed, orientation):
    grid = GRIDS[fixed]
    pair = Pair(ball(grid, grid.center_mm, 7), ball(OBLIQUE))
    model = model_grid(pair, Transform(), spacing_mm=1.25, orientation=orientation)
    np.testing.assert_allclose(model.axes, orientation_axes(orientation))
    np.testing.assert_allclose(model.spacing_mm, 1.25)
    assert all(n % 16 == 0 for n in model.size)
    shown = grid.points()[pair.fixed.array > 1]
    index = model.point_to_index(shown)
    # Half a voxel of 3 mm, the thickest here: where the field of view ends, so may the network's grid.
    assert (index >= -1.3).all()
    assert (index <= np.array(model.size) + 0.3).all()


def test_grid_uses_matching_voxels_and_excludes_empty_space():
    grid = Grid((60, 50, 40), (2.0, 2.0, 2.0), (-50.0, 10.0, 5.0), (-1, 0, 0, 0, 0, 1, 0, 1, 0))
    fixed = ball(grid, grid.center_mm, 12)
    model = model_grid(Pair(fixed, fixed), Transform(), spacing_mm=2.0)
    assert model.voxel_count < grid.voxel_count / 2
    index = grid.point_to_index(model.points())
    np.testing.assert_allclose(index, index.round(), atol=1e-6)
    inputs = make_inputs(Pair(fixed, fixed), Transform(), model)
    assert np.array_equal(inputs.fixed, inputs.moving)
    assert (inputs.fixed.min(), inputs.fixed.max()) == (0.0, 1.0)


def test_fine_volumes_are_averaged_not_picked():
    grid = Grid((48, 48, 48), (0.5, 0.5, 0.5))
    checkers = (np.indices(grid.shape).sum(0) % 2).astype(np.float32)
    checkers[:24] += 1
    volume = Volume(checkers, grid)
    inputs = make_inputs(Pair(volume, volume), Transform(), Grid((16, 16, 16), (1.0,) * 3, (4.25,) * 3))
    assert len(np.unique(inputs.fixed.round(3))) <= 3


@pytest.mark.parametrize("code", ["LP", "LRS", "XYZ", ""])
def test_orientation_must_name_three_axes(code):
    with pytest.raises(SettingsError):
        orientation_axes(code)


def test_faded_field_is_zero_at_its_border_and_never_folds():
    u = np.full((3, 16, 16, 16), 9.0, np.float32)
    grid = Grid((16, 16, 16), (2.0, 2.0, 2.0))
    wide, around = faded(u, grid)
    for axis in (1, 2, 3):
        assert np.abs(wide.take([0, -1], axis)).max() == 0
    assert len(nodes_below(wide, 0.1)[0]) == 0
    first = np.rint(around.point_to_index(grid.origin_mm)).astype(int)[::-1]
    inner = wide[(slice(None), *(slice(f, f + 16) for f in first))]
    np.testing.assert_array_equal(inner, u)


def test_folds_are_reported_and_relaxed_or_left():
    u = np.zeros((3, 16, 16, 16), np.float32)
    u[2, 6:10, 6:10, 7], u[2, 6:10, 6:10, 9] = 2.5, -2.5
    grid = Grid((16, 16, 16))
    repaired = finished_field(u, grid, lowest=0.02)
    assert repaired.folded_percent > 0
    assert any("folded at" in note for note in repaired.notes)
    assert any("smoothed around" in note for note in repaired.notes)
    left = finished_field(u, grid, lowest=0.0)
    assert len(left.notes) == 1
    np.testing.assert_allclose(np.abs(left.field.array_mm).max(), 2.5)
    assert np.abs(repaired.field.array_mm).max() < 2.5


@pytest.mark.parametrize(("orientation", "toward"), [("LPS", (1, 1, 1)), ("RAI", (-1, -1, -1))])
def test_shift_in_voxels_becomes_the_right_map_in_mm(tmp_path, orientation, toward):
    write_shift(tmp_path / "m", (0.5, -1.0, 2.0), spacing_mm=1.5, orientation=orientation)
    pair = Pair(ball(OBLIQUE), ball(OBLIQUE), initial=Transform((START,)))
    transform = run(pair, model=str(tmp_path / "m")).transform
    points = MIDDLE + np.random.default_rng(0).uniform(-9, 9, (50, 3))
    moved = START.apply(points + 1.5 * np.array([2.0, -1.0, 0.5]) * toward)
    np.testing.assert_allclose(transform.apply(points), moved, atol=1e-3)


def test_second_pass_is_added_to_the_first(tmp_path):
    write_shift(tmp_path / "m", (1.0, 0.0, 0.5))
    pair = Pair(ball(OBLIQUE), ball(OBLIQUE))
    once, twice = (run(pair, model=str(tmp_path / "m"), passes=passes) for passes in (1, 2))
    moved = [result.transform.apply(MIDDLE) - MIDDLE for result in (once, twice)]
    np.testing.assert_allclose(moved[1], 2 * moved[0], atol=1e-3)
    assert len(twice.diagnostics.trace) == 3


def test_second_pass_brings_the_demons_closer(tmp_path):
    write_demons(tmp_path / "m", settings={"iterations": 6})
    pair = Pair(ball(OBLIQUE), ball(OBLIQUE, MIDDLE + SHIFTED))
    results = [run(pair, model=str(tmp_path / "m"), passes=passes) for passes in (1, 2)]
    missed = [np.linalg.norm(result.transform.apply(RIM) - RIM - SHIFTED, axis=-1).mean() for result in results]
    assert missed[1] < 0.95 * missed[0]
    values = [point.metric for point in results[1].diagnostics.trace]
    assert values == sorted(values, reverse=True)


def test_uncertainty_is_the_spread_of_drawn_fields_in_mm(tmp_path):
    write_shift(tmp_path / "m", (0.0, 0.5, 0.0), deviation=0.25, spacing_mm=1.5)
    pair = Pair(ball(OBLIQUE), ball(OBLIQUE))
    first, again = (run(pair, model=str(tmp_path / "m"), samples=30) for _ in range(2))
    spread = first.uncertainty
    assert np.array_equal(spread.array, again.uncertainty.array)
    # At the nodes of the coarse grid the spread is drawn as told; between them it is averaged.
    gain = np.mean([(n - 1) / (n // 2 - 1) for n in spread.grid.size])
    assert np.sqrt(3) * 0.25 * gain * 1.5 * 0.4 < spread.array.mean() < np.sqrt(3) * 0.25 * gain * 1.5
    assert any("Uncertainty" in note for note in first.diagnostics.notes)
    assert run(pair, model=str(tmp_path / "m"), samples=0).uncertainty is None


def test_uncertainty_reaches_the_files(tmp_path):
    from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
    from DeepVsClassicRegLib.core.job import Job
    from DeepVsClassicRegLib.worker.registering import register

    write_shift(tmp_path / "m", (0.0, 0.5, 0.0), deviation=0.25)
    for side in ("fixed", "moving"):
        write_volume(ball(OBLIQUE), tmp_path / f"{side}.nrrd")
    inputs = {"fixed": "fixed.nrrd", "moving": "moving.nrrd"}
    outputs = {"transform": "t.h5", "uncertainty": "u.nrrd"}
    settings = {"model": str(tmp_path / "m")}
    job = Job(inputs=inputs, engine="network", settings=settings, compute=Compute("cpu", 1), outputs=outputs)
    files = register(job, tmp_path, Progress())["files"]
    assert read_volume(tmp_path / "out" / files["uncertainty"]).array.max() > 0.1


def test_weights_that_are_not_the_cards_are_refused(tmp_path):
    write_shift(tmp_path / "m", (0.0, 0.0, 0.0))
    weights = tmp_path / "m" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(FileError, match="sha256"):
        run(Pair(ball(OBLIQUE), ball(OBLIQUE)), model=str(tmp_path / "m"))


def test_a_model_must_be_there():
    pair = Pair(ball(OBLIQUE), ball(OBLIQUE))
    with pytest.raises(FileError, match="No registration model") as raised:
        run(pair)
    assert "models add" in raised.value.hint
    with pytest.raises(FileError, match="no model 'brian'"):
        run(pair, model="brian")
    with pytest.raises(FileError, match="no folder"):
        run(pair, models_folder="/not/there")


def heads(count: int = 4):
    return [make_phantom("head", size=32, seed=seed, noise=0.0).pair.fixed for seed in range(count)]


def test_auto_selects_the_model_with_similar_images(tmp_path):
    domain = domain_statistics(heads(), name="heads").to_json()
    write_shift(tmp_path / "brain", (0.0, 0.0, 0.0), name="brain", anatomy="brain", domain=domain)
    write_demons(tmp_path / "shapes", name="shapes", anatomy="any")
    head = make_phantom("head", size=32, seed=9, noise=0.0).pair
    ramp = Volume(np.random.default_rng(0).normal(size=OBLIQUE.shape), OBLIQUE)
    taken = choose_model(head, "auto", str(tmp_path))
    assert taken.model.card.name == "brain" and taken.in_domain
    assert "resemble" in taken.notes[0]
    foreign = choose_model(Pair(ramp, ramp), "auto", str(tmp_path))
    assert foreign.model.card.name == "shapes" and not foreign.in_domain
    assert "brain" in foreign.notes[0]
    named = choose_model(Pair(ramp, head.moving), "brain", str(tmp_path))
    assert not named.in_domain
    assert [note for note in named.notes if note.startswith("The fixed volume differs")]
    assert not [note for note in named.notes if note.startswith("The moving volume differs")]


def test_a_model_of_different_subjects_is_not_selected_for_two_scans_of_one(tmp_path):
    subjects = [make_phantom("head", size=32, seed=seed, noise=0.0).pair.moving for seed in range(4)]
    statistics = domain_statistics(subjects, name="heads")
    domain = dataclasses.replace(statistics, most_alike=most_alike(subjects)).to_json()
    card = {"name": "brain", "anatomy": "brain", "domain": domain, "supervised_labels": {"1": "cortex"}}
    write_shift(tmp_path / "m", (3.0, 0.0, 0.0), **card)
    write_demons(tmp_path / "shapes", name="shapes", anatomy="any")
    first, second = subjects[:2]
    noise = np.random.default_rng(0).normal(scale=0.02 * first.array.std(), size=first.array.shape)
    rescan = Volume((0.9 * first.array + noise).astype(np.float32), first.grid)
    assert choose_model(Pair(first, second), "auto", str(tmp_path)).model.card.name == "brain"
    other = choose_model(Pair(first, rescan), "auto", str(tmp_path))
    assert other.model.card.name == "shapes" and not other.in_domain
    assert "one subject" in other.notes[0] and "not used" in other.notes[0]
    named = choose_model(Pair(first, rescan), "brain", str(tmp_path))
    assert named.model.card.name == "brain" and not named.in_domain and "one subject" in named.notes[-1]


@pytest.mark.parametrize("labels", [{}, {"1": "cortex"}])
def test_intensities_do_not_evaluate_partial_views_of_a_supervised_model_in_its_domain(tmp_path, labels):
    views = [middle_of(head) for head in heads()]
    domain = domain_statistics(views, name="middles of heads").to_json()
    write_shift(
        tmp_path / "m",
        (3.0, 0.0, 0.0),
        name="m",
        anatomy="brain",
        spacing_mm=6.0,
        domain=domain,
        supervised_labels=labels,
    )
    pair = Pair(views[0], views[0], initial=Transform())
    result = register(pair, "network", settings={"model": str(tmp_path / "m"), "samples": 0}, threads=1)
    kept = any("linear start is kept" in note for note in result.diagnostics.notes)
    assert kept == (not labels)
    moved = np.linalg.norm(result.transform.apply([views[0].grid.center_mm])[0] - views[0].grid.center_mm)
    assert (moved < 0.01) == (not labels)


def middle_of(head: Volume) -> Volume:
    """Return a part of a head that shows the body at all faces."""
    size = head.grid.size
    part = tuple(slice(n // 4, n - n // 4) for n in reversed(size))
    first = [float(n // 4) for n in size]
    origin = tuple(float(v) for v in head.grid.index_to_point(np.array(first)))
    grid = Grid(tuple(n - 2 * (n // 4) for n in size), head.grid.spacing_mm, origin, head.grid.direction)
    return Volume(head.array[part], grid)


def test_without_a_general_model_the_closest_is_taken_with_a_warning(tmp_path):
    domain = domain_statistics(heads(), name="heads").to_json()
    write_shift(tmp_path / "brain", (0.0, 0.0, 0.0), name="brain", anatomy="brain", domain=domain)
    noise = Volume(np.random.default_rng(0).normal(size=OBLIQUE.shape), OBLIQUE)
    choice = choose_model(Pair(noise, noise), "auto", str(tmp_path))
    assert len(choice.notes) == 3


def test_little_memory_makes_the_grid_coarser_with_a_note(tmp_path):
    write_shift(tmp_path / "m", (0.0, 0.0, 0.0), spacing_mm=0.4)
    result = run(Pair(ball(OBLIQUE), ball(OBLIQUE)), model=str(tmp_path / "m"), memory_gib=0.01)
    assert any("instead of 0.4 mm" in note for note in result.diagnostics.notes)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("no"), RuntimeError("MPS backend out of memory"), NotImplementedError("grid_sampler_3d")],
)
def test_a_gpu_that_cannot_hands_over_to_the_cpu(error):
    def work(device):
        if device != "cpu":
            raise error
        return 7

    notes = []
    assert with_cpu_fallback("mps", work, notes) == (7, "cpu")
    assert "CPU instead" in notes[0]
    with pytest.raises(RuntimeError, match="bug"):
        with_cpu_fallback("mps", lambda device: (_ for _ in ()).throw(RuntimeError("bug")), notes)


def test_a_cancel_is_heard_within_the_forward_pass(tmp_path):
    write_demons(tmp_path / "m", settings={"iterations": 60})
    heard = []

    def listener(update):
        heard.append(update.stage)

    kind = get_engine("network")
    progress = Progress(listener=listener, cancelled=lambda: heard.count("Network") > 5)
    with pytest.raises(Cancelled):
        kind.run(
            Pair(ball(OBLIQUE), ball(OBLIQUE)),
            make_settings(kind.info.settings, "network", changes={"model": str(tmp_path / "m")}),
            progress,
            Compute("cpu", 1),
        )
    assert heard.count("Network") < 10


def test_impossible_fields_are_a_failure(tmp_path):
    write_shift(tmp_path / "m", (300.0, 0.0, 0.0))
    with pytest.raises(EngineFailed, match="longer than the volume"):
        run(Pair(ball(OBLIQUE), ball(OBLIQUE)), model=str(tmp_path / "m"))


def test_refinement_is_more_accurate_than_the_network_and_reports_both(tmp_path):
    pytest.importorskip("numba")
    write_demons(tmp_path / "m", settings={"iterations": 4})
    phantom = make_phantom("head", size=32, noise=0.0)
    pair = phantom.pair.replace(initial=Transform((phantom.warp.affine,)))
    network = run(pair, model=str(tmp_path / "m"))
    refined = run(pair, "network+refine", model=str(tmp_path / "m"))
    truth = phantom.truth.displacement_on(pair.fixed.grid).array_mm
    inside = pair.fixed_labels.mask()

    def missed(result):
        found = result.transform.displacement_on(pair.fixed.grid).array_mm
        return np.linalg.norm(found - truth, axis=-1)[inside].mean()

    assert missed(refined) < missed(network)
    stages = {point.stage for point in refined.diagnostics.trace}
    assert "Network" in stages
    assert any("deformation" in stage.lower() for stage in stages)
    assert {"Network", "Refinement: Preparation"} <= set(refined.diagnostics.seconds)
    assert dataclasses.is_dataclass(refined.settings)
