"""The C: the driver natively with sanitizers, the images as they are built."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from plum_hw.controller import ControllerConfig
from plum_hw.errors import BuildError
from plum_hw.soc import firmware as firmware_module
from plum_hw.soc.firmware import CROSS, FOLDER, App, build_firmware, sources
from plum_hw.tools import ToolMissing

NATIVE = (
    "-std=c11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all "
    "-Wall -Wextra -Werror -Wconversion -Wshadow -Wundef -DPLUM_CUSTOM_IO"
)
SECONDS = 120


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def compile_native(target: Path, *tests: str, flags: tuple[str, ...] = ()) -> Path:
    """A program of the driver and files of `firmware/tests`, for this machine."""
    files = [*sorted((FOLDER / "src").glob("*.c")), *(FOLDER / "tests" / name for name in tests)]
    includes = [f"-I{FOLDER / name}" for name in ("include", "src", "tests")]
    done = run("cc", *NATIVE.split(), *flags, *includes, *files, "-o", target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unit")
    return compile_native(folder / "unit", "unit.c", "model.c", "slots.c")


# --- the driver


def test_driver_against_a_register_model(unit):
    done = run(unit)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 23
    assert all(line.endswith(" passed") for line in lines)


def test_driver_tests_find_a_planted_fault(unit):
    """A run of the model takes a tick more than the tests were written for."""
    done = run(unit, "plant")
    assert done.returncode == 1
    assert "runs FAILED" in done.stdout


def test_images_are_sent_by_any_map(tmp_path):
    """Whole words wherever there are some, against bytes one by one; a wrong one is seen."""
    send = compile_native(tmp_path / "send", "send.c", "model.c")
    for seed in (1, 20260915):
        done = run(send, seed)
        assert done.stdout == "20000 maps passed\n", f"seed {seed}: {done.stdout}{done.stderr}"
    done = run(send, 1, "plant")
    assert (done.returncode, done.stdout[:12]) == (1, "map 77: byte")


def test_inputs_of_the_fuzzer(tmp_path):
    """What libFuzzer kept of ten minutes: each covers something that no other does."""
    replay = compile_native(tmp_path / "replay", "fuzz.c", "model.c", flags=("-DREPLAY",))
    with zipfile.ZipFile(FOLDER / "tests" / "corpus.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "corpus")
    done = run(replay, *(tmp_path / "corpus" / name for name in names))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(names)} inputs\n"
    assert len(names) > 100


def test_driver_has_no_variables_and_needs_no_library(tmp_path):
    """No data, and nothing from outside but what compilers themselves may call."""
    for source in sorted((FOLDER / "src").glob("*.c")):
        target = tmp_path / f"{source.stem}.o"
        done = run(
            f"{CROSS}gcc", "-c", "-Os", "-march=rv32i", "-mabi=ilp32", "--specs=picolibc.specs",
            f"-I{FOLDER / 'include'}", source, "-o", target,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        sizes = run(f"{CROSS}size", target).stdout.splitlines()[1].split()
        assert sizes[1:3] == ["0", "0"], source
        names = run(f"{CROSS}nm", "-u", target).stdout.split()
        outside = {name for name in names if name != "U" and not name.startswith("plum_")}
        assert outside <= {"memchr", "memcpy", "memset", "strcmp", "strlen", "__muldi3", "__mulsi3"}


def test_header_is_for_cplusplus_too(tmp_path):
    (tmp_path / "use.cpp").write_text(
        '#include "plum.h"\nint main() { return plum_error_name(PLUM_OK) == nullptr; }\n'
    )
    done = run("c++", "-Wall", "-Wextra", "-Werror", f"-I{FOLDER / 'include'}", "-c",
               tmp_path / "use.cpp", "-o", tmp_path / "use.o")  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- the images


def test_image_is_the_same_wherever_it_is_made(tmp_path):
    images = []
    for name in ("one", "another folder, deeper"):
        folder = tmp_path / name.replace(" ", "_") / "firmware"
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("build", "tests"))
        done = run("make", "-C", folder, "-j2")
        assert done.returncode == 0, done.stderr
        images.append([(folder / "build" / f"{app}.bin").read_bytes() for app in App])
    assert images[0] == images[1]
    assert images[0] == [build_firmware(app).image for app in App]


@pytest.mark.parametrize("app", App)
def test_image_fits_and_says_how_large_it_is(app):
    built = build_firmware(app)
    controller = ControllerConfig()
    assert built.text == len(built.image) <= controller.rom_bytes
    assert built.bss < controller.ram_bytes - 1024
    done = run("make", "-C", FOLDER, "-s", "size", f"BUILD={FOLDER / 'build'}")
    assert re.search(rf"^ *{built.text}\t", done.stdout, re.MULTILINE), done.stdout


def test_warnings_are_errors(tmp_path):
    folder = tmp_path / "firmware"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("build", "tests"))
    with (folder / "src" / "errors.c").open("a") as file:
        file.write("static int unused;\n")
    done = run("make", "-C", folder)
    assert done.returncode != 0
    assert "unused" in done.stderr


def test_sources_are_all_in_the_key(tmp_path):
    names = {path.relative_to(FOLDER).as_posix() for path in sources()}
    assert {"Makefile", "board/soc.ld", "board/start.S", "include/plum_regs.h"} <= names
    assert not [name for name in names if name.startswith(("build", "tests"))]


def test_without_a_cross_compiler(monkeypatch):
    monkeypatch.setattr(firmware_module, "CROSS", "riscv99-none-")
    with pytest.raises(ToolMissing, match=r"riscv99-none-gcc.*gcc-riscv64-unknown-elf"):
        build_firmware()


def test_what_does_not_compile_is_told(tmp_path, monkeypatch):
    folder = tmp_path / "firmware"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("build", "tests"))
    (folder / "src" / "errors.c").write_text("int plum_error_text;\nnot C\n")
    monkeypatch.setattr(firmware_module, "FOLDER", folder)
    monkeypatch.setenv("PLUM_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=r"compiling the firmware failed: .*errors\.c:2"):
        build_firmware()
