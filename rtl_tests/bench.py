"""pytest's side of a bench: emits and compiles a component once, runs cocotb modules on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from plum_hw.tools import verilator_environment


class BenchFailure(AssertionError):
    """A cocotb module failed; the message is the end of its log."""


class Simulation:
    """A component, compiled by `simulator` ("verilator" or "icarus") in `folder`.

    Parameters
    ----------
    component : its members are the top's ports
    folder : where everything is made
    simulator : as cocotb names it
    """

    def __init__(
        self, component: wiring.Component, folder: Path, simulator: str = "verilator"
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "dut.v"
        source.write_text(verilog.convert(component, name="dut", emit_src=False))
        self._runner = get_runner(simulator)
        flags = ["-Wno-fatal", "-Wno-WIDTH"] if simulator == "verilator" else ["-g2012"]
        with verilator_environment():
            self._runner.build(
                sources=[source],
                hdl_toplevel="dut",
                build_dir=folder / "build",
                build_args=flags,
                log_file=folder / "build.log",
                timescale=("1ns", "1ps"),
                always=True,
            )

    def run(self, module: str, environment: Mapping[str, str]) -> None:
        """Run the cocotb tests of `module`.

        Raises
        ------
        BenchFailure : at least one failed
        """
        results = self._folder / "results.xml"
        log = self._folder / "run.log"
        results.unlink(missing_ok=True)
        # The runner leaves by SystemExit where a test fails.
        with verilator_environment(), contextlib.suppress(SystemExit):
            self._runner.test(
                test_module=module,
                hdl_toplevel="dut",
                build_dir=self._folder / "build",
                test_dir=self._folder,
                extra_env={**os.environ, **environment},
                results_xml=str(results),
                log_file=log,
            )
        total, failed = get_results(results)
        said = log.read_text()
        assert total > 0, f"nothing was run: {said[-2000:]}"
        if failed:
            raise BenchFailure(said[-6000:])
