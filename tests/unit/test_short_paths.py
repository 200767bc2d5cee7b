"""Folders for sockets, which must have short names."""

from __future__ import annotations

import tempfile

import pytest

from cluster.short_paths import MOST_BYTES, short_temporary_folder


@pytest.mark.parametrize(
    ("usual", "taken"),
    [("/scratch", "/scratch"), ("/scratch/users/somebody/job-4711", "/tmp")],  # noqa: S108
)
def test_a_long_name_gives_way_to_a_short_one(usual: str, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", usual)
    assert str(short_temporary_folder()) == taken
    assert len(f"{taken}/kaizen-up-12345678/{56 * 'f'}/s") <= MOST_BYTES
