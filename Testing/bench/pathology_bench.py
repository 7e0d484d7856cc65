"""Lesions, rigid bodies and repairs with a known truth; writes PATHOLOGY.md.

Usage: OMP_NUM_THREADS=1 python Testing/bench/pathology_bench.py PART --data DATA --out OUT
Parts: lesions, volume, rigid, repair; each writes OUT/PART.json. `page` writes PATHOLOGY.md from all of them.
"""

# ruff: noqa: E402 - thread limits must be set before numpy is imported

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepVsClassicReg"))

from DeepVsClassicRegLib.core.engines.registration import register
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.resample import warp_labels, warp_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.phantom.warp import random_warp
from DeepVsClassicRegLib.core.transforms.invert import invert
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform, compacted, fit_affine

PAGE = Path(__file__).with_name("PATHOLOGY.md")
SIZE = 96
NEAR_MM = 10.0
# Of 1, 0.1, 0.01, 0.001 and 0.0001 the best: with the first three elastix diverges, because it chooses its step length
# at the start, where the penalty has no gradient.
PENALTY_WEIGHT = 0.001
SITES_MM = ((28.0, 0.0, 12.0), (-22.0, 20.0, 5.0))
BRAIN_SITES_MM = ((35.0, 0.0, 10.0), (-30.0, 25.0, -5.0), (0.0, -45.0, 20.0))
REPAIR_PAIRS = ("known warp", "two persons", "no contrast around")


class MassEffect:
    """A radial map of healthy tissue to where a lesion has moved it.

    Tissue at `seed_mm` from the center lies at the surface of the lesion of `radius_mm`; the displacement decreases to
    0 at three radii.
    """

    def __init__(self, center, seed_mm: float, radius_mm: float) -> None:
        self.center, self.seed, self.radius = np.asarray(center), seed_mm, radius_mm
        end = 3 * radius_mm
        self.before, self.after = [0, seed_mm, end, 10 * end], [0, radius_mm, end, 10 * end]

    def apply(self, points):
        """Return where healthy tissue lies beside the lesion."""
        return self._scaled(points, self.before, self.after)

    def inverse(self, points):
        """Return where the tissue was before the lesion."""
        return self._scaled(points, self.after, self.before)

    def _scaled(self, points, first, second):
        offset = points - self.center
        length = np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-9)
        return self.center + offset * np.interp(length, first, second) / length

    def distance(self, points):
        """Return the distance from the surface of the lesion."""
        return np.linalg.norm(points - self.center, axis=-1) - self.radius


def field_of(mapping, grid) -> Transform:
    """Return a map of points as a field on a grid."""
    points = grid.points()
    return Transform((DisplacementField((mapping(points) - points).astype(np.float32), grid),))


def with_lesion(volume: Volume, effect: MassEffect, kind: str, rng) -> tuple[Volume, LabelMap]:
    """Return a volume with a lesion, and the lesion."""
    grid = volume.grid
    inside = effect.distance(grid.points()) < 0
    moved = warp_volume(volume, grid, field_of(effect.inverse, grid)).array
    high = float(np.percentile(volume.array, 99))
    if kind == "tumor":
        texture = sitk.GetArrayFromImage(
            sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(rng.normal(size=grid.shape)), 2.0)
        )
        content = high * (1.1 + 1.2 * texture)
    else:
        content = high * (0.15 + 0.02 * rng.normal(size=grid.shape))
    array = np.where(inside, content, moved)
    return Volume(array.astype(np.float32), grid, volume.name), LabelMap(inside.astype(np.int32), grid)


def timed(pair: Pair, **changes):
    """Return the transform of the engine instance, and the CPU seconds of the call."""
    preset = changes.pop("preset", "default")
    began = time.process_time()
    found = register(pair, "instance", preset=preset, settings=changes, threads=1, device="cpu").transform
    return found, time.process_time() - began


def lesion_cases():
    """Yield (name, pair without masks, masks, truth, points within 10 mm of the lesion, error of its surroundings)."""
    for seed, site in enumerate(SITES_MM):
        phantom = make_phantom("head", size=SIZE, seed=seed)
        grid, spacing = phantom.pair.fixed.grid, phantom.pair.fixed.grid.spacing_mm[0]
        points = grid.points()
        for voxels in (8, 12):
            radius = voxels * spacing
            for kind, seed_share in (("tumor", 0.5), ("resection", 1.15)):
                for side in ("fixed", "moving"):
                    rng = np.random.default_rng(seed)
                    center = site if side == "fixed" else phantom.warp.apply(np.array([site]))[0]
                    effect = MassEffect(center, seed_share * radius, radius)
                    volume, lesion = with_lesion(getattr(phantom.pair, side), effect, kind, rng)
                    pair = phantom.pair.without_annotations().replace(**{side: volume})
                    if side == "fixed":
                        truth, distance = phantom.warp.apply(effect.inverse(points)), effect.distance(points)
                    else:
                        truth = effect.apply(phantom.warp.apply(points))
                        distance = effect.distance(truth)
                    near = (distance > 0) & (distance < NEAR_MM) & (phantom.pair.fixed_labels.array > 0)
                    far = (distance > 3 * radius) & (phantom.pair.fixed_labels.array > 0)
                    yield (
                        f"{kind}, {voxels} voxels, {side}",
                        pair,
                        {f"{side}_excluded": lesion},
                        truth,
                        near,
                        far,
                        phantom,
                    )


def lesions(_arguments) -> list[dict]:
    """Measure the error around lesions with and without the excluded region."""
    rows = []
    for name, pair, masks, truth, near, far, phantom in lesion_cases():
        grid = pair.fixed.grid
        pair = pair.replace(initial=Transform((phantom.warp.affine,)))
        row = {"case": name}
        for title, given in (("without", {}), ("with", masks)):
            found, seconds = timed(pair.replace(**given))
            moved = grid.points() + found.displacement_on(grid).array_mm
            error = np.linalg.norm(moved - truth, axis=-1)
            row[title] = {
                "near_mm": float(error[near].mean()),
                "far_mm": float(error[far].mean()),
                "smallest_determinant": float(jacobian_determinant(found, grid).array.min()),
                "cpu_s": seconds,
            }
        row["start_mm"] = float(np.linalg.norm(phantom.warp.affine.apply(grid.points()) - truth, axis=-1)[near].mean())
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def volume(_arguments) -> list[dict]:
    """Measure the volume of a tumor of the moving volume after its registration to a healthy fixed volume."""
    rows = []
    for name, pair, masks, truth, near, _far, phantom in lesion_cases():
        if not name.startswith("tumor") or "moving" not in name:
            continue
        grid, (lesion,) = pair.fixed.grid, masks.values()
        pair = pair.replace(initial=Transform((phantom.warp.affine,)), **masks)
        row = {"case": name}
        for kept in ("follow", "volume", "rigid"):
            found, seconds = timed(pair, excluded=kept)
            fine = grid.with_spacing([0.5 * s for s in grid.spacing_mm])
            share = warp_labels(lesion, fine, found).mask().sum() * np.prod(fine.spacing_mm)
            before = lesion.mask().sum() * np.prod(lesion.grid.spacing_mm)
            error = np.linalg.norm(grid.points() + found.displacement_on(grid).array_mm - truth, axis=-1)
            row[kept] = {
                "volume_percent": float(100 * share / before),
                "near_mm": float(error[near].mean()),
                "smallest_determinant": float(jacobian_determinant(found, grid).array.min()),
                "cpu_s": seconds,
            }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def rigid_pair(seed: int):
    """Return a pair with three bright bodies that move rigidly inside a smooth map, their labels, and their motions."""
    phantom = make_phantom("head", size=SIZE, seed=seed, affine=Affine.identity(), amplitude_mm=8.0)
    grid = phantom.pair.fixed.grid
    points, rng = grid.points(), np.random.default_rng(seed)
    labels, motions = np.zeros(grid.shape, np.int32), []
    for number, center in enumerate(((30.0, -10.0, 10.0), (-25.0, 25.0, 0.0), (-5.0, -30.0, 25.0)), 1):
        axes = np.array([11.0, 8.0, 13.0])[rng.permutation(3)]
        labels[(((points - center) / axes) ** 2).sum(-1) < 1] = number
        turn = sitk.Euler3DTransform(
            center, *(np.deg2rad(rng.uniform(-9, 9, 3)).tolist()), rng.uniform(-4, 4, 3).tolist()
        )
        motions.append(Affine.from_sitk(turn))

    displacement = phantom.warp.displacement(points)
    for number, motion in enumerate(motions, 1):
        distance = ndimage.distance_transform_edt(labels != number, sampling=grid.spacing_mm[::-1])
        share = np.clip(1 - distance / 14.0, 0, 1)
        share = (share * share * (3 - 2 * share))[..., None]
        displacement = displacement * (1 - share) + share * (motion.apply(points) - points)
    truth = DisplacementField(displacement.astype(np.float32), grid)
    high = float(np.percentile(phantom.pair.fixed.array, 99))
    fixed = np.where(labels > 0, 1.5 * high, phantom.pair.fixed.array).astype(np.float32)
    # The moving volume shows at y what the fixed one shows at the inverse of y.
    inverse = invert(Transform((truth,)), grid).transform
    moving = warp_volume(Volume(fixed, grid), grid, inverse).array
    noise = 0.02 * high * rng.normal(size=grid.shape)
    pair = Pair(
        Volume(fixed, grid), Volume((moving + noise * (moving > 0.02 * high)).astype(np.float32), grid, "moving")
    )
    return pair, LabelMap(labels, grid), motions, truth


def rigid_row(found: Transform, labels: LabelMap, motions, truth: DisplacementField, body, seconds: float) -> dict:
    """Return what a map does to the bodies, and its error."""
    grid = labels.grid
    field = found.displacement_on(grid).array_mm
    moved = grid.points() + field
    gradient = np.stack([np.gradient(moved, s, axis=a) for a, s in zip((2, 1, 0), grid.spacing_mm, strict=True)], -1)
    inside = labels.mask()
    determinant = np.linalg.det(gradient[inside])
    error = np.linalg.norm(field - truth.array_mm, axis=-1)
    turns, apart = [], []
    for number, motion in enumerate(motions, 1):
        at = labels.array == number
        got = fit_affine(grid.points()[at], moved[at])
        angle = np.trace(got.matrix.T @ motion.matrix)
        turns.append(float(np.rad2deg(np.arccos(np.clip((angle - 1) / 2, -1, 1)))))
        local = np.linalg.svd(gradient[at])
        rotation = local[0] @ local[2]
        cosine = (np.einsum("nij,ij->n", rotation, got.matrix) - 1) / 2
        apart.append(float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max()))
    shell = ~inside & body
    return {
        "determinant_error": float(np.abs(determinant - 1).max()),
        "determinant_error_mean": float(np.abs(determinant - 1).mean()),
        "rotation_inside_deg": max(apart),
        "rotation_error_deg": max(turns),
        "error_inside_mm": float(error[inside].mean()),
        "error_outside_mm": float(error[shell].mean()),
        "smallest_determinant": float(jacobian_determinant(found, grid).array.min()),
        "cpu_s": seconds,
    }


def rigid(_arguments) -> list[dict]:
    """Compare rigid bodies of the engine instance with elastix and its rigidity penalty."""
    rows = []
    for seed in (0,):
        pair, labels, motions, truth = rigid_pair(seed)
        body = pair.fixed.array > 0.1 * np.percentile(pair.fixed.array, 99)
        pair = pair.replace(initial=Transform())
        timed(pair)  # compiles the kernels
        for title, given in (
            ("instance", pair),
            ("instance, fixed_rigid", pair.replace(fixed_rigid=labels)),
        ):
            found, seconds = timed(given)
            rows.append({"pair": seed, "method": title, **rigid_row(found, labels, motions, truth, body, seconds)})
            print(json.dumps(rows[-1]), flush=True)
        for weight in (None, PENALTY_WEIGHT):
            found, seconds = elastix_with_penalty(pair, labels, weight)
            title = "elastix B-spline" if weight is None else f"elastix B-spline, rigidity penalty, weight {weight:g}"
            rows.append({"pair": seed, "method": title, **rigid_row(found, labels, motions, truth, body, seconds)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def elastix_with_penalty(pair: Pair, labels: LabelMap, weight: float | None) -> tuple[Transform, float]:
    """Register with elastix and its transform rigidity penalty (Staring et al., Med. Phys. 34, 2007)."""
    import itk

    fixed, moving = (itk.image_from_array(np.ascontiguousarray(volume.array)) for volume in (pair.fixed, pair.moving))
    for image in (fixed, moving):
        image.SetSpacing(list(pair.fixed.grid.spacing_mm))
        image.SetOrigin(list(pair.fixed.grid.origin_mm))
    parameters = itk.ParameterObject.New()
    table = parameters.GetDefaultParameterMap("bspline", 3)
    table["FinalGridSpacingInPhysicalUnits"] = ["8"]
    table["MaximumNumberOfIterations"] = ["300"]
    table["NumberOfSpatialSamples"] = ["3000"]
    table["Metric"] = ["AdvancedNormalizedCorrelation"]
    table["AutomaticTransformInitialization"] = ["false"]
    table.erase("FinalGridSpacingInVoxels") if hasattr(table, "erase") else table.pop("FinalGridSpacingInVoxels", None)
    with tempfile.TemporaryDirectory() as folder:
        if weight is None:
            table["Registration"] = ["MultiResolutionRegistration"]
        else:
            mask = sitk.GetImageFromArray((labels.array > 0).astype(np.float32))
            mask.SetSpacing(labels.grid.spacing_mm)
            mask.SetOrigin(labels.grid.origin_mm)
            path = str(Path(folder) / "rigidity.mha")
            sitk.WriteImage(mask, path)
            table["Registration"] = ["MultiMetricMultiResolutionRegistration"]
            table["Metric"] = ["AdvancedNormalizedCorrelation", "TransformRigidityPenalty"]
            table["Metric0Weight"], table["Metric1Weight"] = ["1"], [str(weight)]
            table["FixedRigidityImageName"] = [path]
            table["UseFixedRigidityImage"], table["UseMovingRigidityImage"] = ["true"], ["false"]
            for name in ("LinearityCondition", "OrthonormalityCondition", "PropernessCondition"):
                table[f"Use{name}"] = ["true"]
                table[f"{name}Weight"] = [{"L": "100", "O": "1", "P": "2"}[name[0]]]
            table["DilateRigidityImages"] = ["false"]
        parameters.AddParameterMap(table)
        began = time.process_time()
        _image, result = itk.elastix_registration_method(
            fixed, moving, parameter_object=parameters, number_of_threads=1, log_to_console=False
        )
        seconds = time.process_time() - began
        field = itk.transformix_deformation_field(moving, result)
    array = itk.array_from_image(field).astype(np.float32)
    return Transform((DisplacementField(array, pair.fixed.grid),)), seconds


def brain_pairs(data: Path):
    """Yield (name, fixed, moving, present map) of two brains with a known or an accepted map."""
    folder = data / "visible/brain_malf_oasis"
    fixed = read_volume(folder / "1101_t1.nii.gz")
    grid, rng = fixed.grid, np.random.default_rng(0)
    warp = random_warp(3, size_mm=150, amplitude_mm=8, affine=Affine.identity())
    points = grid.points()
    inverse = DisplacementField((warp.inverse(points, tolerance_mm=0.01) - points).astype(np.float32), grid)
    moving = warp_volume(fixed, grid, Transform((inverse,)))
    high = float(np.percentile(fixed.array, 99))
    noisy = np.where(moving.array > 0.02 * high, moving.array + rng.normal(0, 0.03 * high, grid.shape), 0)
    known = Transform((compacted(DisplacementField(warp.displacement(points).astype(np.float32), grid)),))
    yield "known warp", fixed, Volume(np.clip(noisy, 0, None).astype(np.float32), grid, "moving"), known
    other = read_volume(folder / "1003_t1.nii.gz")
    yield "two persons", fixed, other, register(Pair(fixed, other), "instance", threads=1, device="cpu").transform


def repair(arguments) -> list[dict]:
    """Measure the error within 10 mm of a spot where a map was made wrong by 6 mm, before and after the repair."""
    rows = []
    for name, fixed, moving, present in brain_pairs(arguments.data):
        kinds = (name, "no contrast around") if name == "known warp" else (name,)
        for kind in kinds:
            for number, site in enumerate(BRAIN_SITES_MM):
                rows += repair_rows(kind, number, np.array(site), fixed, moving, present)
    return rows


def repair_rows(kind: str, number: int, site, fixed: Volume, moving: Volume, present: Transform) -> list[dict]:
    """Return the rows of one spot: with landmarks, and without them for comparison."""
    rng, grid = np.random.default_rng(number), fixed.grid
    body = np.argwhere(fixed.array > 0.1 * np.percentile(fixed.array, 99))
    center = grid.index_to_point(body.mean(axis=0)[::-1]) + site
    direction = rng.normal(size=3)
    box = grid.cropped([int(n) for n in np.maximum(grid.point_to_index(center) - 40, 0)], [80, 80, 80])
    points = box.points()
    share = np.exp(-((points - center) ** 2).sum(-1) / (2 * 10.0**2))[..., None]
    wrong = DisplacementField((share * 6 * direction / np.linalg.norm(direction)).astype(np.float32), box)
    start = Transform.of([compacted(wrong), present])
    ball = points[((points - center) ** 2).sum(-1) < NEAR_MM**2]
    wanted = present.apply(ball)
    at = center + rng.uniform(-6, 6, (3, 3))
    target = present.apply(at) + rng.normal(0, 0.4, (3, 3))
    if kind == "no contrast around":
        fixed, moving = (_without_contrast(v, c) for v, c in ((fixed, center), (moving, present.apply(center))))
    pair = Pair(fixed, moving, fixed_points=at, moving_points=target, initial=start)
    rows = []
    for title, weight in (("3 pairs", 1.0), ("no landmarks", 1e-6)):
        found, seconds = timed(pair, preset="repair", landmark_weight=weight)
        before, after = (np.linalg.norm(t.apply(ball) - wanted, axis=-1) for t in (start, found))
        rows.append(
            {
                "pair": kind,
                "site": number + 1,
                "given": title,
                "before_mm": float(before.mean()),
                "before_largest_mm": float(before.max()),
                "after_mm": float(after.mean()),
                "after_largest_mm": float(after.max()),
                "smallest_determinant": float(jacobian_determinant(found, box).array.min()),
                "smallest_before": float(jacobian_determinant(start, box).array.min()),
                "cpu_s": seconds,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _without_contrast(volume: Volume, center) -> Volume:
    """Return a volume with a constant ball of 25 mm, as after a large edema."""
    inside = ((volume.grid.points() - center) ** 2).sum(-1) < 25.0**2
    return Volume(
        np.where(inside, volume.array[inside].mean(), volume.array).astype(np.float32), volume.grid, volume.name
    )


PARTS = {"lesions": lesions, "volume": volume, "rigid": rigid, "repair": repair}


def main() -> None:
    """Run a part, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=(*PARTS, "page"))
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.part == "page":
        from pathology_bench_page import page

        files = {name: arguments.out / f"{name}.json" for name in PARTS}
        parts = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
        PAGE.write_text(page(parts), encoding="utf-8")
        return
    rows = PARTS[arguments.part](arguments)
    (arguments.out / f"{arguments.part}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
