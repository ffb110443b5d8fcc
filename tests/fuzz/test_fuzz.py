"""The fuzz targets on their corpus, and for a moment on new cases."""

from __future__ import annotations

import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_the_corpus_and_new_cases_find_nothing(target: str) -> None:
    assert any((fuzz.CORPUS / target).iterdir())
    found, _ = fuzz.fuzz(target, 1.5, seed=20240511)
    assert found["cases"] > 0
    assert found["lines_reached"] > 20


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_something_good_is_taken(target: str) -> None:
    fuzz.TARGETS[target](fuzz.good_case(target))


def test_a_finding_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls_over(data: bytes) -> None:
        if b"\xff" in data:
            raise IndexError("list index out of range")

    monkeypatch.setitem(fuzz.TARGETS, "parser", falls_over)
    with pytest.raises(IndexError) as error:
        fuzz.fuzz("parser", 20, seed=1)
    assert "case of parser" in error.value.__notes__[0]
