"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_classify(capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(EXAMPLES / "classify.py"))
    assert script["main"]("golden", 8) >= 6
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 9
    assert shown[0].endswith("cycles an image")
