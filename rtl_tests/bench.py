"""pytest's side of a bench: emits and compiles a component once, runs cocotb modules on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib import wiring
from cocotb_tools.runner import Runner, Verilator, get_runner

from plum_hw.boards.board import Family
from plum_hw.flow.mapped import mapped_verilog
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


class _PortsOnly(Verilator):
    """cocotb's runner, but only the top's own signals can be reached.

    With all signals of a design public, as cocotb asks for, Verilator can leave nothing out: the
    same bench then takes half as long again to compile and to run.
    """

    def _build_command(self) -> list[list[str]]:
        verilator, *others = super()._build_command()
        return [[word for word in verilator if word != "--public-flat-rw"], *others]


#: What `_PortsOnly` leaves public, for Verilator.
_PORTS = """`verilator_config
public_flat_rw -module "dut" -var "*"
"""


class Simulation:
    """A component, compiled by `simulator` ("verilator" or "icarus") in `folder`.

    Parameters
    ----------
    component : its members are the top's ports
    folder : where everything is made
    simulator : as cocotb names it
    mapped : the component as mapped to a family, of its cells' models
    cells : of the mapped component, by type
    """

    def __init__(
        self,
        component: wiring.Component,
        folder: Path,
        simulator: str = "verilator",
        mapped: Family | None = None,
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "dut.v"
        text = to_verilog(component, "dut")
        self.cells: dict[str, int] = {}
        if mapped is not None:
            text, self.cells = mapped_verilog(text, "dut", mapped)
        source.write_text(text)
        sources = [source]
        self._runner: Runner
        if simulator == "verilator":
            (folder / "ports.vlt").write_text(_PORTS)
            sources = [folder / "ports.vlt", source]
            self._runner = _PortsOnly()
            # As in the virtual board: Verilator 5.48 miscompiles the cluster with its own graphs.
            flags = ["-Wno-fatal", "-Wno-WIDTH", "-fno-dfg"]
        else:
            self._runner = get_runner(simulator)
            flags = ["-g2012"]
        with verilator_environment():
            self._runner.build(
                sources=sources,
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
