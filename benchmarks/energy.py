"""`python -m benchmarks.energy`: benchmarks/energy.json, switching energy by scheme.

The whole device of one cluster (preset ``cluster``, without its link) is mapped to standard cells;
its memories stay as they are. The netlist runs layer L in Verilator for each scheme, on the same
image; its outputs must be the golden machine's and its cycles the predicted ones. What each net
toggled during the run (SAIF) is charged as `benchmarks.switching` says.

The cells are those of a 180 nm process, so figures are relative: what schemes need of one another
on the same logic, not the power of an FPGA. The requantizer's multipliers, which an FPGA has as DSP
blocks, are gates here. Memories are not charged; their accesses are counted beside.

Needs the liberty file of Debian's package qflow-tech-osu018 (``apt-get install qflow-tech-osu018``)
and some minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import ENERGY, ROOT, dumps, write_performance
from benchmarks.switching import Netlist, read_toggles
from plum_host.bundle import Bundle
from plum_host.steps import turns
from plum_hw import bench
from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError, PlumError
from plum_hw.gateware.emit import to_verilog
from plum_hw.golden.machine import Machine
from plum_hw.ir import Network
from plum_hw.ir.random import random_images
from plum_hw.layouts import Space
from plum_hw.presets import preset
from plum_hw.report.weights import mask_words
from plum_hw.tools import verilator_env, yosys_command
from plum_hw.zoo import Options, build

LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
WORK = ROOT / "build" / "energy"
NETWORK, ARRAY, DENSITY, SEED = "layer-l", "cluster", 0.35, 0
SCHEMES = ("signed-binary", "binary", "binary-offset", "ternary")
#: Filters that share additions: none do, or the compiler chooses.
GROUPS = (1, None)
PARTS = ("lanes", "drain", "emitter", "control", "clock")
#: A smooth image, as photographs are: the fifth of `random_images`.
_IMAGE = 4
_HARNESS = Path(__file__).with_name("energy_harness.cpp")

#: Memories are left as they are; everything else becomes cells, block by block, and is named n1,
#: n2, ... at the end.
_SYNTHESIS = r"""
read_verilog device.v
hierarchy -top device
proc
opt
memory -nomap
opt
wreduce
booth
alumacc
opt
techmap
setattr -unset init w:*
opt -fast
dfflegalize -cell $_DFF_P_ x
dfflibmap -liberty cells.lib
abc -liberty cells.lib
opt_clean
flatten
opt_clean -purge
splitnets
rename -hide w:* i:* %d o:* %d
rename -enumerate -pattern n% w:* i:* %d o:* %d
opt_clean
write_json netlist.json
write_verilog -noattr netlist.v
design -reset
read_liberty -ignore_miss_func cells.lib
proc
write_verilog -noattr cells.v
"""
_VERILATOR_FLAGS = [
    "--cc",
    "--exe",
    "--build",
    "-j",
    "2",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "--trace-saif",
    "--top-module",
    "device",
    "--prefix",
    "Venergy",
    "-Mdir",
    "obj",
    "-o",
    "energy",
    "--output-split",
    "5000",
    "-Wno-fatal",
    "-Wno-WIDTH",
    "-Wno-lint",
    "-MAKEFLAGS",
    "OPT_FAST=-O0",
]


def _call(command: list[str], what: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=WORK,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{what} failed: {done.stdout.strip().splitlines()[-1:]}")
    return done.stdout


def write_device(config: ArrayConfig) -> None:
    """Verilog of the device without its link, under the names of ports that the harness uses."""
    from amaranth.hdl import Value

    from plum_hw.gateware.device import Device

    device = Device(config)
    host = device.host
    ports: dict[str, Any] = {
        "request_payload": host.request.payload,
        "request_valid": host.request.valid,
        "request_ready": host.request.ready,
        "response_payload": host.response.payload,
        "response_valid": host.response.valid,
        "response_ready": host.response.ready,
        **{
            name: getattr(device, name)
            for name in ("targets", "start", "program", "layers", "abort", "busy", "cycles")
        },
    }
    text = to_verilog(
        device,
        "device",
        ports={name: (Value.cast(signal), None) for name, signal in ports.items()},
        strip_internal_attrs=True,
    )
    (WORK / "device.v").write_text(text)


def make(config: ArrayConfig, liberty: Path) -> None:
    """The netlist and its simulation, in `WORK`."""
    print("writing the Verilog", flush=True)
    write_device(config)
    shutil.copy(liberty, WORK / "cells.lib")
    (WORK / "synthesis.ys").write_text(_SYNTHESIS)
    print("mapping to cells", flush=True)
    _call([*yosys_command(), "-q", "-l", "synthesis.log", "synthesis.ys"], "yosys")
    cells = (WORK / "cells.v").read_text()
    (WORK / "cells.v").write_text(f"/*verilator tracing_off*/\n{cells}/*verilator tracing_on*/\n")
    shutil.copy(_HARNESS, WORK / "harness.cpp")
    print("compiling the simulation of the netlist (minutes)", flush=True)
    sources = ["cells.v", "netlist.v", "harness.cpp"]
    _call(["verilator", *_VERILATOR_FLAGS, *sources], "verilator", verilator_env())


def simulate(config: ArrayConfig, bundle: Bundle, image: np.ndarray, saif: str) -> int:
    """Run an image on the netlist; the cycles. Raises `PlumError` for another output than the
    golden machine's, or other cycles than predicted.
    """
    (layers,) = bundle.parts
    turn = next(turns(bundle, image))
    (write,), (read,) = turn.writes, turn.reads
    writes = [
        f"{space.value} {address + index} {word:x}\n"
        for space, address, words in (
            (Space.CODE, 0, bundle.code[0][0]),
            (Space.TABLE, 0, bundle.table[0][0]),
            (Space.ACTIVATION, write.address, np.frombuffer(write.data, "<u8")),
        )
        for index, word in enumerate(words.tolist())
    ]
    (WORK / "writes.txt").write_text("".join(writes))
    arguments = ["writes.txt", str(layers), str(read.address), str(read.words), saif]
    cycles, *words = _call(["obj/energy", *arguments], "the simulation").split()
    machine = Machine(config)
    machine.load(bundle)
    machine.run_image(bundle, image)
    expected = np.frombuffer(machine.read(Space.ACTIVATION, read.address, read.words), "<u8")
    if [int(word, 16) for word in words] != expected.tolist():
        raise PlumError("the netlist's output differs from the golden machine's")
    if int(cycles) != bundle.manifest["predicted_cycles"]:
        raise PlumError(f"{cycles} cycles; predicted {bundle.manifest['predicted_cycles']}")
    return int(cycles)


def result(
    config: ArrayConfig, netlist: Netlist, network: Network, options: Options, group: int | None
) -> dict[str, Any]:
    """One entry: energy of each part and in all, in pJ of the cells' process."""
    bundle = compile_network(network, config, group=group)
    image = random_images(network, _IMAGE + 1, SEED)[_IMAGE]
    saif = "toggles.saif"
    cycles = simulate(config, bundle, image, saif)
    energy = netlist.energy(read_toggles(WORK / saif), cycles)
    return {
        "density": round(bench.middle_density(network), 6),
        "group": "auto" if group is None else group,
        "cycles": cycles,
        "beats": sum(layer["beats"] for layer in bundle.manifest["layers"]),
        "mask_words": mask_words(bundle),
        "energy": {part: round(energy[part], 1) for part in PARTS},
        "total": round(sum(energy[part] for part in PARTS), 1),
    }


def main() -> None:
    """Write the results, and docs/performance.md."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.energy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--liberty", type=Path, default=LIBERTY, help="file of standard cells")
    parser.add_argument("--keep", action="store_true", help="use the netlist that is there")
    arguments = parser.parse_args()
    if not arguments.liberty.is_file():
        parser.error(f"{arguments.liberty}: no such file; apt-get install qflow-tech-osu018")
    config = preset(ARRAY)
    WORK.mkdir(parents=True, exist_ok=True)
    if not arguments.keep:
        make(config, arguments.liberty)
    netlist = Netlist(WORK / "netlist.json", "device", WORK / "cells.lib")
    runs = []
    for scheme in SCHEMES:
        for group in GROUPS:
            options = Options(scheme=scheme, density=DENSITY, seed=SEED)
            entry = result(config, netlist, build(NETWORK, options), options, group)
            print(scheme, entry["group"], entry["cycles"], entry["total"], flush=True)
            runs.append({"scheme": scheme, **entry})
    found = {
        "network": NETWORK,
        "array": ARRAY,
        "config": config.as_dict(),
        "cells": arguments.liberty.name,
        "size": netlist.size,
        "parts": list(PARTS),
        "runs": runs,
    }
    ENERGY.write_text(dumps(found))
    print(f"wrote {ENERGY.relative_to(ROOT)}")
    write_performance()


if __name__ == "__main__":
    main()
