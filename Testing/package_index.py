"""An index of Python packages in a folder, for tests of installations without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path


class FakeIndex:
    """Wheels with metadata and nothing else, and the pages that pip reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def options(self) -> list[str]:
        """The options of pip that use this index alone."""
        return ["--isolated", "--index-url", (self.folder / "simple").as_uri()]

    def add(self, name: str, version: str, *, needs: tuple[str, ...] = (), lines: tuple[str, ...] = ()) -> Path:
        """Add a wheel; `lines` are further lines of its metadata."""
        normal = name.replace("-", "_")
        wheel = self.folder / f"{normal}-{version}-py3-none-any.whl"
        info = f"{normal}-{version}.dist-info"
        about = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
        about += [f"Requires-Dist: {need}" for need in needs]
        files = {
            f"{normal}.py": f"VERSION = {version!r}\n",
            f"{info}/METADATA": "\n".join(about) + "\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
                archive.writestr(path, text)
        page = self.folder / "simple" / name.lower().replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a", encoding="utf-8") as file:
            file.write(f'<a href="{wheel.as_uri()}">{wheel.name}</a>\n')
        return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
