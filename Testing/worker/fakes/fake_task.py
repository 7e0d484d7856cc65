"""Work that behaves well or badly in every way a worker must survive."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from DeepVsClassicRegLib.core.errors import RegistrationError


def run(job, folder, progress):
    return globals()[job.options["what"]](job, folder, progress)


def good(job, folder, progress):
    for step in range(5):
        progress.report(step / 5, "Working", metric=-step)
    return {"files": {}, "threads": os.environ.get("OMP_NUM_THREADS"), "cwd": str(Path.cwd())}


def environment(job, folder, progress):
    return {"environment": dict(os.environ), "path": sys.path, "flags": [sys.flags.utf8_mode, sys.flags.safe_path]}


def noisy(job, folder, progress):
    libc = ctypes.CDLL(None)
    for number in range(50):
        print("python noise", number)
        os.write(1, b'{"event":"result"} from C without an end')
        libc.puts(b"c noise")
        subprocess.run(["echo", '{"event":"error","message":"child noise"}'], check=True)
        progress.report(number / 50, f"Stage {number}")
    libc.fflush(None)
    return {"files": {}}


def chatty(job, folder, progress):
    sys.stderr.write("x" * 200_000 + "\n" + "é\n" * 5000)
    return {"files": {}}


def polite(job, folder, progress):
    while True:
        progress.report(0.5, "Waiting")
        time.sleep(0.02)


def stuck(job, folder, progress):
    """Native code that holds Python's lock: no thread of this process can run."""
    progress.report(0.1, "Stuck")
    time.sleep(0.1)
    ctypes.PyDLL(None).sleep(1200)


def leaves_scratch(job, folder, progress):
    tempfile.mkdtemp()
    Path("stray.txt").write_text("in the current folder", encoding="utf-8")
    progress.report(0.1, "Dirty")
    ctypes.PyDLL(None).sleep(1200)


def children(job, folder, progress):
    child = subprocess.Popen(["sleep", "1200"])
    progress.report(0.2, f"child {child.pid}")
    child.wait()


def polite_with_children(job, folder, progress):
    child = subprocess.Popen(["sleep", "1200"])
    progress.report(0.2, f"child {child.pid}")
    while True:
        progress.check()
        time.sleep(0.05)


def ignoring_children(job, folder, progress):
    code = "import signal,time\nsignal.signal(15,1)\nprint(flush=True)\ntime.sleep(1200)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()  # it ignores SIGTERM from now on
    progress.report(0.2, f"child {child.pid}")
    child.wait()


def crash(job, folder, progress):
    progress.report(0.3, "About to crash")
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)


def leaving(job, folder, progress):
    os._exit(0)


def system_exit(job, folder, progress):
    sys.exit(2)


def bug(job, folder, progress):
    return 1 // 0


def user_error(job, folder, progress):
    raise RegistrationError("The fixed volume is upside down.", hint="Turn it.")


def memory(job, folder, progress):
    raise MemoryError


def strange_result(job, folder, progress):
    return {"files": {}, "nan": float("nan"), "text": "ünï — 日本"}


def fills_disk(job, folder, progress):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    return {"files": {}, "ballast": "x" * 10_000}


def bad_teardown(job, folder, progress):
    """Native libraries sometimes crash while the interpreter is taken down."""
    import atexit

    atexit.register(os.abort)
    return {"files": {}}
