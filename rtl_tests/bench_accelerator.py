"""A whole network through an accelerator: the bytes of a host in, those of a golden device out."""

from __future__ import annotations

import json
import os
from typing import Any

import cocotb

from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.ir.random import random_images, random_network
from rtl_tests.conversation import Golden, conversation
from rtl_tests.streams import Bench, planted


@cocotb.test()
async def networks(dut: Any) -> None:
    """All memories, outputs and counters, those of cycles too."""
    config = ArrayConfig.from_dict(json.loads(os.environ["CONFIG"]))
    limits = {"max_layers": 4, "max_macs": 20_000, "max_width": 8, "max_channels": 6}
    seed = int(os.environ["NETWORK"])
    while check_network(network := random_network(seed, **limits), config):
        seed += 1
    cocotb.log.info("network %d: %s", seed, [layer.name for layer in network.layers])
    bundle = compile_network(network, config)
    bench = Bench(dut, gap=0)
    rx, tx = bench.source("rx"), bench.sink("tx")
    golden = Golden(config, session=1)

    async def exchange(line: bytes, answer: bytes) -> None:
        tx.received.clear()
        rx.send(line)
        await bench.until(tx, len(answer), 40 * (len(line) + len(answer)) + 40_000)
        assert tx.received == list(answer)

    await bench.reset()
    # The packets before the answer are empty.
    await exchange(golden.reset, b"\0\0" + golden.answer)
    requests = conversation(config, bundle, random_images(network, 1, seed)[0])
    for number, request in enumerate(requests):
        line, answer = golden.serve(request)
        # A planted fault is in the first answer: it need not take as long as all of them.
        await exchange(line, bytes(planted(list(answer))) if number == 0 else answer)
        cocotb.log.info("request %d of %d, cycle %d", number, len(requests), bench.cycles)
