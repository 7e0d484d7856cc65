"""`dvcreg stack`: what it writes and prints."""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.transforms.files import read_transform


def write_sections(folder, shifts=(0, 2, -1, 1)):
    folder.mkdir()
    y, x = np.mgrid[:40, :44]
    for number, shift in enumerate(shifts):
        image = 200 * np.exp(-(((y - 18) / 9) ** 2 + ((x - 22 - shift) / 7) ** 2)) + 60 * (
            np.hypot(y - 26, x - 30 - shift) < 5
        )
        sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.uint8)), str(folder / f"s{number}.png"))
    return folder


def test_a_folder_of_images_is_aligned(call, tmp_path):
    out = tmp_path / "out"
    code, text, _ = call(
        "stack", write_sections(tmp_path / "in"), "--out", out, "--engine", "none", "--reference", 0, "--drift", 0,
        "--spacing", 0.5, "--threads", 1, "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(text)
    assert report == json.loads((out / "report.json").read_text())
    assert report["similarity"]["after"]["lowest"] > 0.97 > report["similarity"]["before"]["lowest"]
    assert read_volume(out / "aligned.nrrd").grid.size == (44, 40, 4)
    point = [[11.0, 9.0, 0.5]]
    found = read_transform(out / "transforms" / "section_0001.h5").apply(point)[0]
    assert np.allclose(found, [12.0, 9.0, 0.5], atol=0.15)
    assert (out / "report.html").is_file() and (out / "cuts.png").stat().st_size > 5000


def test_wrong_input_is_a_user_error(call, tmp_path):
    assert call("stack", tmp_path / "nothing", "--out", tmp_path / "out")[0] == 2
    folder = write_sections(tmp_path / "in")
    code, _, error = call("stack", folder, "--out", tmp_path / "out", "--engine", "elastx")
    assert code == 2 and "elastix" in error
    assert call("stack", folder, "--out", tmp_path / "out", "--engine", "none", "--reference", 9)[0] == 2
