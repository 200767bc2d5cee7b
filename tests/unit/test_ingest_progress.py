"""The bar of an ingest: filled where it is known how many documents there are."""

from __future__ import annotations

from collections import Counter

import pytest

from jobs.ingest_progress import Progress


@pytest.mark.parametrize(("documents", "percentage"), [(40, 25.0), (None, 0.0)])
def test_the_bar_fills_with_what_was_looked_at(
    documents: int | None, percentage: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(quiet=False) as progress:
        progress.expect(documents)
        progress.update(Counter(documents=6, chunks=9, unchanged=2, duplicate=1, quarantined=1))
        assert progress._bar.tasks[0].percentage == percentage
    assert "6 documents, 9 chunks" in capsys.readouterr().err
