"""Check the system libraries that Qt and VTK need; install them when root on Debian, else name the command."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}


def missing() -> list[str]:
    """Return the Debian packages of the libraries that cannot be loaded."""
    packages = []
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            packages.append(package)
    return packages


def main() -> int:
    """Install or name what is missing; never fail, tests that need it say so themselves."""
    if sys.platform != "linux" or not (packages := missing()):
        return 0
    # Mesa's software renderer comes with the GL driver package.
    packages += ["libegl-mesa0", "libgl1-mesa-dri"]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root and shutil.which("apt-get"):
        sys.stderr.write(f"Installing system libraries: {' '.join(packages)}\n")
        subprocess.run(["apt-get", "update", "-q"], check=False)
        subprocess.run(command, check=False)
        packages = missing()
    if packages:
        sys.stderr.write(
            "System libraries for Qt and VTK are missing; the panel's tests will be skipped. Install them with:\n"
            f"  sudo {' '.join(command)}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
