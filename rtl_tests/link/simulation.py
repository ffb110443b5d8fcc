"""pytest's side of the benches: emits and compiles a component, and runs bench modules on it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from plum_hw.tools import verilator_environment


class Simulation:
    """A component in Verilator. *Parameters*: ``component``; ``folder``, for everything made."""

    def __init__(self, component: wiring.Component, folder: Path) -> None:
        self._folder = folder
        source = folder / "dut.v"
        source.write_text(verilog.convert(component, name="dut", emit_src=False))
        self._runner = get_runner("verilator")
        with verilator_environment():
            self._runner.build(
                sources=[source],
                hdl_toplevel="dut",
                build_dir=folder / "build",
                build_args=["-Wno-fatal", "-Wno-WIDTH"],
                log_file=folder / "build.log",
                always=True,
            )

    def failures(self, bench: str, **environment: str) -> int:
        """Run the tests of module `rtl_tests.link.BENCH`; how many of them failed."""
        results = self._folder / "results.xml"
        results.unlink(missing_ok=True)
        # The runner exits where a test fails.
        with verilator_environment(), contextlib.suppress(SystemExit):
            self._runner.test(
                test_module=f"rtl_tests.link.{bench}",
                hdl_toplevel="dut",
                build_dir=self._folder / "build",
                test_dir=self._folder,
                extra_env={**os.environ, **environment},
                results_xml=str(results),
            )
        total, failed = get_results(results)
        assert total > 0, "nothing was run"
        return failed
