"""Files: drafts that replace the old file only when they are whole, and digests of their content."""

from __future__ import annotations

import pytest
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.files import atomic, content_digest


def test_a_draft_with_the_same_ending_is_removed_after_an_error(tmp_path):
    path = tmp_path / "rescan.nii.gz"
    with pytest.raises(RuntimeError, match="stopped"), atomic(path, same_ending=True) as draft:
        assert draft.name.endswith(".nii.gz")
        draft.write_bytes(b"half")
        raise RuntimeError("stopped")
    assert not list(tmp_path.iterdir())


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    found = content_digest(tmp_path)
    (tmp_path / "reports").mkdir()
    assert content_digest(tmp_path) == found
    (tmp_path / "b").write_bytes(b"changed")
    assert content_digest(tmp_path) != found
    with pytest.raises(FileError):
        content_digest(tmp_path / "none")
