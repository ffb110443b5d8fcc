"""What goes wrong is one line on stderr with the wrong value, exit code 2, and harms no device."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import Done, Plum, call


def check_error(done: Done, *words: str) -> None:
    """One line that holds these words, in any case."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert done.returncode == 2
    assert done.stdout == ""
    assert ": error: " in lines[0]
    for word in words:
        assert word.lower() in lines[0].lower(), lines[0]


@pytest.fixture(scope="module")
def broken(folder: Path) -> Path:
    """Files that are wrong in one way each."""
    whole = (folder / "net.plum").read_bytes()
    (folder / "truncated.plum").write_bytes(whole[:-9])
    (folder / "empty.plum").write_bytes(b"")
    for place in (3, 40, len(whole) // 2, len(whole) - 5):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (folder / f"flipped{place}.plum").write_bytes(damaged)
    network = (folder / "net.qnet").read_bytes()
    (folder / "truncated.qnet").write_bytes(network[:-3])
    (folder / "flipped.qnet").write_bytes(network[:-8] + bytes([network[-8] ^ 1]) + network[-7:])
    (folder / "folder").mkdir()
    with np.load(folder / "images.npz") as file:
        images = file["images"]
    np.save(folder / "floats.npy", images.astype(np.float32))
    np.save(folder / "narrow.npy", images[..., :-1])
    np.save(folder / "flat.npy", images.reshape(len(images), -1))
    np.save(folder / "none.npy", images[:0])
    np.savez(folder / "labels.npz", images=images, labels=np.zeros(3, np.uint8))
    (folder / "text.npy").write_text("not an image\n")
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("compile absent.qnet --array tiny", ["absent.qnet", "no such file"]),
        ("compile folder --array tiny", ["folder", "director"]),
        ("compile truncated.qnet --array tiny", ["truncated.qnet"]),
        ("compile flipped.qnet --array tiny", ["digest"]),
        ("compile net.plum --array tiny", ["net.plum"]),
        ("compile net.qnet --array huge", ["'huge'", "tiny"]),
        ("compile net.qnet --array tiny -o absent/x.plum", ["absent/x.plum", "no such file"]),
        ("compile net.qnet --array tiny -o net.qnet/x.plum", ["net.qnet/x.plum", "not a dir"]),
        ("compile net.qnet --array tiny -o folder", ["folder", "director"]),
        ("compile net.qnet", ["--array", "plum compile --help"]),
        ("check absent.qnet --array tiny", ["absent.qnet", "no such file"]),
        ("check net.qnet --array huge", ["'huge'", "tiny"]),
        ("cycles absent.plum", ["absent.plum", "no such file"]),
        ("cycles folder", ["folder"]),
        ("info truncated.plum", ["truncated.plum", "compile it again"]),
        ("info empty.plum", ["empty.plum"]),
        ("cycles net.qnet", ["net.qnet", "no bundle"]),
        ("build --board artix", ["'artix'", "arty"]),
        ("build --board arty --array huge", ["'huge'", "tiny"]),
        ("build --board arty --out net.qnet", ["net.qnet", "folder"]),
        ("build --board arty --array tiny --out net.qnet/x", ["net.qnet/x"]),
        ("demo --device golden --out net.qnet", ["net.qnet"]),
        ("demo --limit 0", ["'0'", "1 or more"]),
        ("demo --array huge", ["'huge'", "tiny"]),
        ("frobnicate", ["frobnicate", "plum --help"]),
        ("cycles --frobnicate net.plum", ["--frobnicate", "plum cycles --help"]),
        ("run", ["BUNDLE", "plum run --help"]),
        ("train", ["plum train: error: ", "configs", "plum train --help"]),
        ("run net.plum", ["--images", "plum run --help"]),
    ],
)
def test_command(
    plum: Plum, broken: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.chdir(broken)
    check_error(plum(*command.split()), *words)


RUNS = [
    ("truncated.plum --images images.npz", ["truncated.plum"]),
    ("flipped3.plum --images images.npz", ["flipped3.plum"]),
    ("flipped40.plum --images images.npz", ["flipped40.plum"]),
    ("FLIPPED --images images.npz", ["flipped"]),
    ("net.plum --images absent.npz", ["absent.npz", "no such file"]),
    ("net.plum --images folder", ["folder", "director"]),
    ("net.plum --images text.npy", ["text.npy"]),
    ("net.plum --images floats.npy", ["floats.npy", "float32", "uint8"]),
    ("net.plum --images flat.npy", ["flat.npy", "shape"]),
    ("net.plum --images narrow.npy", ["shape"]),
    ("net.plum --images none.npy", ["none.npy", "no images"]),
    ("net.plum --images labels.npz", ["labels.npz", "labels"]),
    ("net.plum --images images.npz --limit -1", ["-1", "1 or more"]),
    ("net.plum --images images.npz --limit many", ["'many'", "1 or more"]),
]


@pytest.mark.parametrize(("command", "words"), RUNS)
def test_run_on_golden(
    plum: Plum, broken: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.chdir(broken)
    damaged = sorted(path.name for path in broken.glob("flipped*.plum"))
    for name in damaged if "FLIPPED" in command else [""]:
        text = command.replace("FLIPPED", name)
        check_error(plum("run", *text.split(), "--device", "golden"), *words)


def test_virtual_board_is_usable_after_each_error(
    plum: Plum, broken: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken)
    wrong = [(text, words) for text, words in RUNS if "FLIPPED" not in text and "limit" not in text]
    for command, words in [*wrong, ("wide.plum --images images.npz", ["single", "digest"])]:
        check_error(plum("run", *command.split(), "--device", board), *words)
        check_works(plum, board)


def check_works(plum: Plum, board: str) -> None:
    done = plum("run", "net.plum", "--images", "images.npz", "--limit", "1", "--device", board)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def held_port() -> Iterator[str]:
    """A serial port that another program has opened for itself."""
    control, terminal = pty.openpty()
    fcntl.flock(terminal, fcntl.LOCK_EX)
    yield os.ttyname(terminal)
    os.close(terminal)
    os.close(control)


@pytest.fixture
def mute_port() -> Iterator[str]:
    """A serial port at whose other end nobody answers."""
    control, terminal = pty.openpty()
    yield os.ttyname(terminal)
    os.close(terminal)
    os.close(control)


def run_on(plum: Plum, folder: Path, device: str) -> Done:
    return plum("run", folder / "net.plum", "--images", folder / "images.npz", "--device", device)


def test_busy_port(plum: Plum, folder: Path, held_port: str) -> None:
    check_error(run_on(plum, folder, held_port), held_port, "another program")


def test_mute_port(plum: Plum, folder: Path, mute_port: str) -> None:
    check_error(run_on(plum, folder, mute_port), mute_port, "the device is not there")


def test_closed_port(plum: Plum, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
    check_error(run_on(plum, folder, url), url, "refused")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("goldne", ["'goldne'", "golden", "virtual"]),
        ("/dev/ttyABSENT9", ["/dev/ttyABSENT9", "no such port"]),
        ("/dev/null", ["/dev/null", "not a serial port"]),
        ("socket://127.0.0.1", ["socket://HOST:PORT"]),
        ("telegraph://x", ["telegraph://x"]),
        ("", ["''", "golden"]),
    ],
)
def test_no_such_device(plum: Plum, folder: Path, device: str, words: list[str]) -> None:
    check_error(run_on(plum, folder, device), *words)


def test_board_in_use(
    plum: Plum, broken: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second program on a board that has one; the first is not disturbed."""
    monkeypatch.chdir(broken)
    host, port = board.removeprefix("socket://").split(":")
    with socket.create_connection((host, int(port))):
        check_error(run_on(plum, broken, board), board)
    check_works(plum, board)


def test_script_of_the_host(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(broken)
    for command, words in RUNS:
        if "FLIPPED" not in command and "limit" not in command and "none" not in command:
            check_error(call("plum_host.infer", *command.split(), "--device", "golden"), *words)


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which the extras are not installed, and nothing is cached."""
    for name in ("amaranth", "amaranth_boards", "torch"):
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n"
        )
    return {"PYTHONPATH": str(tmp_path), "PLUM_CACHE_DIR": str(tmp_path / "cache")}


def test_host_without_the_extras(
    plum: Plum, folder: Path, tmp_path: Path, without: dict[str, str]
) -> None:
    command = ("run", folder / "net.plum", "--images", folder / "images.npz", "--device")
    assert plum(*command, "golden", environment=without).returncode == 0
    check_error(plum(*command, "virtual", environment=without), "amaranth", "plum-hw[hw,sim]")
    build = ("build", "--board", "arty", "--array", "tiny", "--out", tmp_path / "out")
    check_error(plum(*build, environment=without), "amaranth", "plum-hw[hw]")
