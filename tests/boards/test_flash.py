"""Loading boards: the loader is a stand-in, for no board is plugged in where tests run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from plum_hw.boards import board, boards
from plum_hw.boards.flash import flash
from plum_hw.errors import BuildError
from plum_hw.tools import ToolMissing

BOARD = board("ulx3s-85f")


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "plum.bit"
    path.write_bytes(b"bits")
    return path


def loader(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str = "") -> Path:
    """A program that keeps its arguments, says something and ends with a code."""
    tool = folder / "loader"
    tool.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\necho "{says}"\nexit {code}\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("OPENFPGALOADER", str(tool))
    return folder / "arguments"


def test_board_is_named_to_the_loader(bitstream, tmp_path, monkeypatch) -> None:
    arguments = loader(tmp_path, monkeypatch, 0)
    flash(BOARD, bitstream)
    assert arguments.read_text().split() == ["-b", "ulx3s", str(bitstream)]
    flash(BOARD, bitstream, persist=True)
    assert arguments.read_text().split() == ["-b", "ulx3s", "-f", str(bitstream)]
    assert all(item.loader for item in boards().values())


def test_what_the_loader_says_is_quoted(bitstream, tmp_path, monkeypatch) -> None:
    loader(tmp_path, monkeypatch, 1, "unable to open ftdi device: -3: error")
    with pytest.raises(BuildError, match=r"ULX3S 85F: unable to open ftdi device.*plugged in"):
        flash(BOARD, bitstream)


def test_no_loader(bitstream, monkeypatch) -> None:
    monkeypatch.setenv("OPENFPGALOADER", "no-such-loader")
    with pytest.raises(ToolMissing, match="no-such-loader"):
        flash(BOARD, bitstream)


def test_no_bitstream_names_the_build(tmp_path) -> None:
    with pytest.raises(BuildError, match="plum build --board ulx3s-85f"):
        flash(BOARD, tmp_path / "plum.bit")
