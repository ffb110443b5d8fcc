"""pytest's side of a bench: emits and compiles a component once, runs cocotb modules on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from plum_hw.gateware.emit import to_verilog
from plum_hw.tools import verilator_environment


class BenchFailure(AssertionError):
    """Tests of cocotb modules failed.

    *Members*: ``failures``, the message of each failed test by MODULE.TEST.
    """

    def __init__(self, failures: Mapping[str, str], log: str) -> None:
        said = [f"{name}: {message}" for name, message in failures.items()]
        super().__init__("\n".join([*said, log]))
        self.failures = failures


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
        source.write_text(to_verilog(component, "dut"))
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

    def run(self, modules: str | Sequence[str], environment: Mapping[str, str]) -> None:
        """Run the cocotb tests of one module or several.

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
                test_module=modules,
                hdl_toplevel="dut",
                build_dir=self._folder / "build",
                test_dir=self._folder,
                extra_env={**os.environ, **environment},
                results_xml=str(results),
                log_file=log,
            )
        said = log.read_text()
        assert results.is_file(), f"the simulation broke off: {said[-6000:]}"
        tests = list(ElementTree.parse(results).iter("testcase"))
        assert tests, f"nothing was run: {said[-6000:]}"
        failures = {
            f"{test.get('classname')}.{test.get('name')}": found.get("message", "")
            for test in tests
            for found in (*test.findall("failure"), *test.findall("error"))
        }
        if failures:
            raise BenchFailure(failures, said[-6000:])
