"""`dvcreg cohort` as a user calls it: check, run, resume, page, Ctrl-C."""

from __future__ import annotations

import json
import signal

import psutil
import pytest

pytest.importorskip("distributed")


@pytest.fixture
def manifest(files, tmp_path):
    """Return a manifest with two pairs, one of them with a volume that cannot be registered."""
    volume = tmp_path / "flat.nii.gz"
    nib = pytest.importorskip("nibabel")
    import numpy as np

    nib.save(nib.Nifti1Image(np.full((20, 20, 20), np.nan, np.float32), np.eye(4)), volume)
    path = tmp_path / "pairs.csv"
    path.write_text(
        "id,fixed,moving,fixed_seg,moving_seg,group\n"
        f"good,{files['fixed']},{files['moving']},{files['fixed_labels']},{files['moving_labels']},x\n"
        f"empty,{files['fixed']},{volume},,,y\n",
        encoding="utf-8",
    )
    return path


def test_check(call, manifest, tmp_path):
    code, out, _ = call("cohort", "check", manifest)
    assert (code, "2 pairs, 0 problems" in out) == (0, True)
    bad = tmp_path / "bad.csv"
    bad.write_text("fixed,moving\nnone.nii.gz,none2.nii.gz\n", encoding="utf-8")
    code, out, _ = call("cohort", "check", bad, "--json")
    assert code == 2
    assert [problem["place"] for problem in json.loads(out)["problems"]] == ["line 2", "line 2"]
    code, out, err = call("cohort", "run", bad, "-e", "linear", "--out", tmp_path / "out")
    assert code == 2 and "2 problems; nothing was computed" in err and not (tmp_path / "out").exists()


def test_run_lists_the_failed_pair_and_resumes(call, manifest, tmp_path):
    out = tmp_path / "out"
    run = ("cohort", "run", manifest, "-e", "linear:rigid", "--no-html", "--threads", 1, "--out", out)
    code, text, err = call(*run)
    assert code == 0, err
    assert "2 registrations: 1 done, 1 failed" in text
    assert "empty, linear: " in err and "Hint" in err
    assert "2 of 2 registrations, 1 failed" in err
    assert {path.name for path in out.iterdir()} >= {"cohort.csv", "cohort.html", "cohort.parquet", "cohort.json"}

    code, text, _ = call(*run, "--pairs", "good", "--json")
    assert code == 0 and json.loads(text)["reused"] == 1

    (out / "cohort.html").unlink()
    code, text, _ = call("cohort", "page", out)
    assert code == 0 and (out / "cohort.html").is_file() and "cohort.html" in text


def test_wrong_options(call, manifest, tmp_path):
    for options, said in (
        (("-e", "linear", "--scheduler", "slrum"), "slurm"),
        (("-e", "linear", "--memory", "lots"), "4GB or 500MB"),
        (("-e", "linear,sitk-demons", "--set", "iterations=3"), "one engine only"),
        (("-e", "linear", "--pairs", "goood"), "Did you mean 'good'"),
    ):
        code, _, err = call("cohort", "run", manifest, *options, "--out", tmp_path / "out")
        assert code == 2 and said in err, err


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_leaves_a_resumable_folder(program, manifest, tmp_path, call):
    out = tmp_path / "out"
    process = program("cohort", "run", manifest, "-e", "stuck", "--workers", 2, "--threads", 1, "--out", out)
    root, jobs = psutil.Process(process.pid), []
    while len(jobs) < 2:
        assert process.poll() is None
        jobs = [child for child in root.children(recursive=True) if "worker" in " ".join(child.cmdline())]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 3 and "Canceled" in err and "Traceback" not in err
    assert not [job for job in jobs if job.is_running() and job.status() != psutil.STATUS_ZOMBIE]
    assert not list(out.glob("pairs/*/*/record.json")) and not list(out.glob("pairs/*/*/.dvcreg-*"))
    code, text, err = call("cohort", "run", manifest, "-e", "linear:rigid", "--no-html", "--out", out)
    assert code == 0 and "1 done" in text, err
