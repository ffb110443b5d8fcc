"""Every command, and the JSON keys that scripts rely on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plum_hw.compiler import compile_network
from plum_hw.demo import IMAGES, NETWORK, shipped
from plum_hw.ir import load_network
from plum_hw.presets import preset
from tests.cli.command import Done, Plum, call, start

LAYER = {"name", "cycles", "density", "group", "split", "lane_use", "bound_by", "stalls"}
RUN = {"predicted_cycles", "simulated_cycles", "equal_to_golden", "top1", "images", "seconds"}


def report(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_layers(report: dict[str, Any]) -> None:
    assert all(set(layer) >= LAYER for layer in report["layers"])
    assert sum(layer["cycles"] for layer in report["layers"]) == report["predicted_cycles"]
    for layer in report["layers"]:
        assert layer["density"] is None or 0 <= layer["density"] <= 1
        assert layer["group"] in (1, 2)
        rows, filters = layer["split"]
        assert 1 <= rows * filters <= report.get("clusters", 5)
        assert 0 < layer["lane_use"] <= 1


def check_run(report: dict[str, Any], images: int) -> None:
    assert set(report) >= RUN
    assert report["equal_to_golden"] is True
    assert report["images"] == images
    assert report["simulated_cycles"] == report["predicted_cycles"]
    check_layers(report)
    assert all(layer["simulated_cycles"] == layer["cycles"] for layer in report["layers"])


def test_compile_check_cycles_info(plum: Plum, folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "net.plum"
    made = report(plum("compile", folder / "net.qnet", "-o", bundle, "--array", "tiny", "--json"))
    assert made["bundle"] == str(bundle)
    check_layers(made)
    assert bundle.read_bytes() == (folder / "net.plum").read_bytes()

    counted = report(plum("cycles", bundle, "--json"))
    assert counted["array"] == "tiny"
    assert counted["clusters"] == 1
    assert counted["parts"] == 1
    assert counted["layers"] == made["layers"]

    held = report(plum("info", bundle, "--json"))
    assert held["predicted_cycles"] == made["predicted_cycles"]
    assert held["array"] == "tiny"
    assert set(held["words"]) == {"code", "table"}

    checked = report(plum("check", folder / "net.qnet", "--array", "tiny", "--json"))
    assert checked["supported"] is True
    assert checked["problems"] == []


def test_check_names_what_the_array_cannot_do(plum: Plum) -> None:
    wide = shipped("fashion.qnet")
    plain = plum("check", wide, "--array", "tang-nano-9k")
    assert plain.returncode == 1
    assert "the drain accumulator holds 262143" in plain.stdout
    found = plum("check", wide, "--array", "tang-nano-9k", "--json")
    assert found.returncode == 1
    problems = json.loads(found.stdout)["problems"]
    assert problems
    assert all(problem["what"] and problem["remedy"] for problem in problems)


def test_people_can_read_it(plum: Plum, folder: Path) -> None:
    for command in ("cycles", "info"):
        done = plum(command, folder / "net.plum")
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 100


def test_names_of_layers_are_whole_in_80_columns(plum: Plum, tmp_path: Path) -> None:
    bundle = tmp_path / "fashion.plum"
    made = plum("compile", shipped("fashion.qnet"), "--array", "arty-a7-35t", "-o", bundle)
    assert made.returncode == 0
    assert "s2b1.shortcut " in made.stdout
    for heading in ("T", "RxF", "lanes", "stalls", "bound by"):
        assert heading in made.stdout
    assert "\N{HORIZONTAL ELLIPSIS}" not in made.stdout
    assert max(map(len, made.stdout.splitlines()[:-1])) <= 80


def test_run_on_golden(plum: Plum, folder: Path) -> None:
    command = ("run", folder / "net.plum", "--images", folder / "images.npz", "--device", "golden")
    done = report(plum(*command, "--json"))
    check_run(done, images=4)
    assert done["top1"] == 100
    assert report(plum(*command, "--limit", "3", "--json"))["images"] == 3
    assert "top-1 accuracy" in plum(*command).stdout


def test_labels_of_their_own_and_none(plum: Plum, folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "images.npz") as file:
        np.save(tmp_path / "x.npy", file["images"])
        np.save(tmp_path / "y.npy", (file["labels"] + 1) % 2)
    command = ("run", folder / "net.plum", "--device", "golden", "--images", tmp_path / "x.npy")
    assert report(plum(*command, "--json"))["top1"] is None
    assert report(plum(*command, "--labels", tmp_path / "y.npy", "--json"))["top1"] < 100


def test_run_on_the_virtual_board(plum: Plum, folder: Path, board: str) -> None:
    command = ("run", folder / "net.plum", "--images", folder / "images.npz", "--json")
    check_run(report(plum(*command, "--device", "virtual")), images=4)
    check_run(report(plum(*command, "--device", board)), images=4)


def test_script_of_the_host(folder: Path) -> None:
    done = call(
        *("plum_host.infer", folder / "net.plum", "--images", folder / "images.npz"),
        *("--device", "golden", "--json"),
    )
    found = report(done)
    assert found["images"] == 4
    assert found["simulated_cycles"] == found["predicted_cycles"]


def test_demo(plum: Plum, tmp_path: Path) -> None:
    command = ("demo", "--device", "golden", "--limit", "8", "--out", tmp_path / "demo")
    done = report(plum(*command, "--json"))
    check_run(done, images=8)
    assert done["equal_to_reference"] is True
    assert Path(done["bundle"]).is_file()
    assert "equal to reference yes" in plum(*command).stdout


def test_shipped_images_are_a_few_hundred() -> None:
    with np.load(shipped(IMAGES)) as file:
        assert file["images"].shape == (500, 1, 28, 28)


def test_boards(plum: Plum) -> None:
    found = {item["board"]: item for item in report(plum("boards", "--json"))}
    assert set(found) >= {"arty", "arty-a7-100"}
    assert set(found["arty"]["capacity"]) == {"lut", "ff", "ram", "dsp"}
    assert found["arty"]["clusters"] == 5
    expected = compile_network(load_network(shipped(NETWORK)), preset("arty-a7-35t"))
    assert found["arty"]["cycles"] == expected.manifest["predicted_cycles"]
    assert set(found["arty"]["tools"]) == {"vivado", "openFPGALoader"}
    text = " ".join(plum("boards").stdout.split())
    assert f"arty 20,800 41,600 50 90 5 x 64 {found['arty']['cycles']:,}" in text
    array = "array arty-a7-35t (with --soc arty-a7-35t-soc) at 100 MHz"
    assert f"Digilent Arty A7-35T, xc7a35ticsg324-1L: {array}" in text


def test_help_and_version(plum: Plum) -> None:
    alone = plum()
    assert alone.returncode == 0
    assert "compile" in alone.stdout
    assert plum("--version").stdout.startswith("plum_hw ")
    for command in ("compile", "check", "run", "cycles", "info", "boards", "build", "demo"):
        done = plum(command, "--help")
        assert done.returncode == 0
        assert f"plum {command}" in done.stdout


def test_plain_locale(plum: Plum, folder: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in (
        ("cycles", folder / "net.plum"),
        ("run", folder / "net.plum", "--images", folder / "images.npz", "--device", "golden"),
        ("demo", "--device", "golden", "--limit", "2", "--out", folder / "plain"),
        ("--help",),
    ):
        done = plum(*command, environment=plain)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


def test_reader_that_has_had_enough(folder: Path) -> None:
    process = start("plum_hw", "cycles", folder / "net.plum")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.wait()


def test_interrupted_run(folder: Path, board: str, plum: Plum) -> None:
    with np.load(folder / "images.npz") as file:
        np.save(folder / "many.npy", np.repeat(file["images"], 500, axis=0))
    command = ("run", folder / "net.plum", "--device", board, "--images")
    process = start("plum_hw", *command, folder / "many.npy")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "plum: interrupted"
    check_run(report(plum(*command, folder / "images.npz", "--json")), images=4)


@pytest.mark.parametrize("columns", [80, 200])
def test_gallery_and_progress_in_a_terminal(tmp_path: Path, columns: int) -> None:
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "plum_hw", "demo", "--device", "golden"),
            *("--limit", "10", "--out", str(tmp_path)),
        ],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={
            **os.environ,
            **{"TERM": "xterm-256color", "COLUMNS": str(columns), "COLORTERM": "truecolor"},
            **{"LC_ALL": "C.UTF-8"},
        },
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(control, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(control)
    assert process.wait() == 0
    text = shown.decode()
    assert "golden: images" in text
    assert "\N{UPPER HALF BLOCK}" in text
    assert "equal to reference yes" in text
