"""Scene, files, processes, settings and the recorded outside world: packages, torch, samples."""

import importlib
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from slicer_standin import core, extras, watch


def volume(name="head"):
    return slicer.util.addVolumeFromArray(np.arange(60.0).reshape(3, 4, 5), name=name)


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_volume_file_round_trip(slicer_scene, tmp_path, ending):
    path = str(tmp_path / f"v{ending}")
    assert slicer.util.exportNode(volume(), path, {})
    loaded = slicer.util.loadVolume(path, {"name": "back"})
    assert loaded.GetName() == "back"
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), np.arange(60.0).reshape(3, 4, 5))


def test_scene_bundle_round_trip(slicer_scene, tmp_path):
    volume()
    node = slicer_scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "settings")
    node.SetParameter("engine", "elastix")
    slicer.util.saveScene(str(tmp_path / "s.mrb"), {})
    slicer_scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"), {})
    assert slicer.util.getNode("settings").GetParameter("engine") == "elastix"
    assert slicer.util.arrayFromVolume(slicer.util.getNode("head")).shape == (3, 4, 5)


@pytest.mark.parametrize("name", ["missing.nrrd", "missing.h5"])
def test_missing_files_raise(slicer_scene, tmp_path, name):
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadNodeFromFile(str(tmp_path / name), None, {})


def test_subject_hierarchy_items_appear_and_go(slicer_scene):
    node = volume()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer_scene)
    item = hierarchy.GetItemByDataNode(node)
    assert item
    assert hierarchy.GetItemName(item) == "head"
    slicer_scene.RemoveNode(node)
    assert hierarchy.GetItemByDataNode(node) == 0


def test_nodes_added_outside_the_main_thread_are_reported(slicer_scene, recorded_errors):
    thread = threading.Thread(target=lambda: slicer_scene.AddNewNodeByClass("vtkMRMLTextNode"))
    thread.start()
    thread.join()
    assert "outside the main thread" in recorded_errors()[0]


def test_process_talks_through_the_event_loop(wait_until):
    process, lines, ended = qt.QProcess(), [], []
    process.connect(
        "readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data().decode().strip())
    )
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.start(sys.executable, ["-c", "import sys; print(sys.stdin.readline()); sys.exit(3)"])
    process.write(b"hello\n")
    wait_until(lambda: ended)
    assert "".join(lines) == "hello"
    assert ended == [(3, qt.QProcess.NormalExit)]


def test_leftovers_show_processes_and_folders(wait_until):
    before = watch.leftovers()
    process = qt.QProcess()
    process.start(sys.executable, ["-c", "import time; time.sleep(30)  # leftover"])
    folder = slicer.util.tempDirectory()
    wait_until(lambda: any("leftover" in command for command in watch.leftovers()[0]))
    assert len(watch.leftovers()[1]) == len(before[1]) + 1
    process.kill()
    process.waitForFinished(5000)
    Path(folder).rmdir()
    assert watch.leftovers() == before


def test_program_that_does_not_exist_reports_an_error(wait_until):
    process, failed = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", failed.append)
    process.start("/no/such/program", [])
    wait_until(lambda: failed)
    assert failed == [qt.QProcess.FailedToStart]


def test_loop_watch_detects_a_blocked_event_loop(wait_until):
    def block():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    with watch.LoopWatch() as busy:
        qt.QTimer.singleShot(1, block)
        wait_until(lambda: busy.longest_s > 0.09)
    with watch.LoopWatch() as idle:
        wait_until(lambda: idle.ticks > 5)
    assert idle.longest_s < 0.05
    with pytest.raises(TimeoutError):
        wait_until(lambda: False, timeout_s=0.01)


def test_settings_stay_in_the_temporary_folder():
    settings = qt.QSettings()
    settings.setValue("DeepVsClassicReg/device", "cpu")
    settings.sync()
    assert settings.fileName().startswith(str(core.home))
    assert slicer.util.settingsValue("DeepVsClassicReg/device", "auto") == "cpu"
    assert slicer.app.temporaryPath.startswith(str(core.home))


def test_the_user_may_decline_the_installation_of_packages(packages, slicer_scene, tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text("# comment\n-r other.txt\nnumpy>=1.20\nno-such-package>=1\n")
    wanted = slicer.packaging.load_requirements(str(listed))
    assert slicer.packaging.pip_check("numpy>=1.20")
    slicer.packaging.pip_ensure(wanted, requester="Test")
    assert packages.calls == [("pip_ensure", ["no-such-package>=1"])]
    packages.missing.add("numpy")
    assert not slicer.packaging.pip_check("numpy")
    packages.refuse = True
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(wanted)


def test_slicer_5_10_has_no_packaging(packages, slicer_scene):
    with extras.as_slicer_5_10():
        assert not hasattr(slicer, "packaging")
        with pytest.raises(ImportError):
            importlib.import_module("slicer.packaging")
        slicer.util.pip_install("itk-elastix")
    assert packages.calls == [("pip_install", ["itk-elastix"])]
    assert hasattr(slicer, "packaging")


def test_torch_extension_present_absent_and_refused(slicer_scene):
    with pytest.raises(ModuleNotFoundError):
        import PyTorchUtils
    extras.set_pytorch_extension(True, refuse=True)
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert logic.torchInstalled() is False
    assert logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.6") is None
    assert extras.torch_extension.calls[0]["torch"] == ">=2.6"
    assert hasattr(slicer.modules, "pytorchutils")


def test_samples_are_registered_and_never_downloaded(slicer_scene, tmp_path):
    import SampleData

    logic = SampleData.SampleDataLogic
    slicer.util.exportNode(volume(), str(tmp_path / "a.nrrd"), {})
    logic.registerCustomSampleDataSource(
        category="T", sampleName="local", uris=[f"file://{tmp_path}/a.nrrd"], fileNames=["a.nrrd"], nodeNames=["a"]
    )
    logic.registerCustomSampleDataSource(
        category="T", sampleName="remote", uris=["https://example.org/b"], fileNames=["b"], nodeNames=["b"]
    )
    assert logic().downloadSample("local").IsA("vtkMRMLScalarVolumeNode")
    with pytest.raises(RuntimeError, match="downloads nothing"):
        logic().downloadSample("remote")
    with pytest.raises(TypeError, match="sampleDescription"):
        logic.registerCustomSampleDataSource(category="T", sampleName="x", sampleDescription="X")
    assert len(slicer.modules.sampleDataSources.pop("T")) == 2
