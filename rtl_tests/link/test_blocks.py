"""Blocks of the link, each with its bench under Verilator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.lib import wiring

from plum_hw.gateware.link.cobs_decoder import CobsDecoder
from plum_hw.gateware.link.cobs_encoder import CobsEncoder
from plum_hw.gateware.link.link import Link
from plum_hw.gateware.link.packet_sender import PacketSender
from plum_hw.gateware.link.request_queue import RequestQueue
from plum_hw.gateware.link.uart import Uart
from rtl_tests.bench import BenchFailure, Simulation
from rtl_tests.link import bench_link, bench_request_queue, bench_stream_registers, bench_uart

SEED = "20240511"

BLOCKS: dict[str, Callable[[], wiring.Component]] = {
    "bench_cobs_decoder": CobsDecoder,
    "bench_cobs_encoder": CobsEncoder,
    "bench_packet_sender": PacketSender,
    "bench_request_queue": lambda: RequestQueue(bench_request_queue.DEPTH),
    "bench_stream_registers": bench_stream_registers.Registers,
    "bench_uart": lambda: Uart(bench_uart.DIVISOR),
    "bench_link": lambda: Link(bench_link.config(6)),
    "bench_link LUT_INPUTS=4": lambda: Link(bench_link.config(4)),
}


@pytest.mark.parametrize("bench", BLOCKS)
def test_block(bench: str, tmp_path: Path) -> None:
    simulation = Simulation(BLOCKS[bench](), tmp_path)
    name, *settings = bench.split()
    module = f"rtl_tests.link.{name}"
    variables = {"SEED": SEED, **dict(setting.split("=") for setting in settings)}
    simulation.run(module, variables)
    with pytest.raises(BenchFailure):
        simulation.run(module, {**variables, "FAULT": "1"})
