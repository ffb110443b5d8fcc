"""`python -m benchmarks.soak packets|images`: a long time on a bad line, every byte compared.

The device is the golden one, behind a line whose time is simulated (12 Mbaud, 0.25 ms each way),
with and without faults. `--save` writes the figures to `benchmarks/soak.json`.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from plum_host.client import DeviceClient
from plum_host.faults import Faults, SimulatedLine
from plum_host.protocol import SPACE_BYTES, Space
from plum_host.session import Session
from plum_host.tickets import Ticket
from plum_hw import console
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import PlumError
from plum_hw.golden.device import GoldenDevice
from plum_hw.golden.reference import Reference
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import space_words
from plum_hw.presets import preset

FILE = Path(__file__).with_name("soak.json")
#: 12 Mbaud, 8N1.
BYTES_PER_SECOND = 1.2e6
LATENCY = 0.25e-3
BAD = Faults(drop=0.01, corrupt=0.01, repeat=0.01, reorder=0.01)
_CHUNK = 1024
#: Least share of the throughput without faults, for packets of full size.
BAR = 0.7

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def line_to(device: GoldenDevice, faults: Faults | None) -> SimulatedLine:
    """A simulated line."""
    return SimulatedLine(device, bytes_per_second=BYTES_PER_SECOND, latency=LATENCY, faults=faults)


def soak_packets(count: int, faults: Faults | None, seed: int) -> dict[str, Any]:
    """Write, read and check memories at random; compare all of them with a model at the end.

    Raises `AssertionError` where a byte is wrong or a request was carried out more than once.
    """
    config = preset("arty-a7-35t")
    device = GoldenDevice(config)
    written = 0
    write = device.machine.write

    def counted(*arguments: Any) -> None:
        nonlocal written
        written += 1
        write(*arguments)

    device.machine.write = counted  # type: ignore[method-assign, assignment]
    line = line_to(device, faults)
    client = DeviceClient(line, 2.0)
    client.identify()
    rng = random.Random(seed)
    spaces = (Space.CODE, Space.TABLE, Space.ACTIVATION)
    model = {
        (space, cluster): bytearray(space_words(config)[space] * SPACE_BYTES[space])
        for space in spaces
        for cluster in range(config.clusters)
    }
    begin, first = line.now(), client.counts.requests
    payload = writes = 0
    tickets: list[Ticket] = []
    while client.counts.requests - first < count:
        space, cluster = rng.choice(spaces), rng.randrange(config.clusters)
        size, memory = SPACE_BYTES[space], model[space, cluster]
        words = min(_CHUNK // size, len(memory) // size)
        place = rng.randrange(len(memory) // size - words + 1)
        part = slice(place * size, (place + words) * size)
        kind = rng.random()
        payload += words * size
        if kind < 0.9:
            memory[part] = rng.randbytes(words * size)
            client.write(space, cluster, place, bytes(memory[part]))
            writes += 1
        elif kind < 0.95:
            # Nothing may be written before the answer is there.
            assert client.join(client.read(space, cluster, place, words)) == memory[part]
        else:
            (ticket,) = client.check(space, cluster, place, bytes(memory[part]))
            assert client.wait(ticket) == b""
    client.drain()
    seconds = line.now() - begin
    assert written == writes, f"{written} writes were carried out, {writes} were asked for"
    for (space, cluster), memory in model.items():
        words = len(memory) // SPACE_BYTES[space]
        tickets = client.read(space, cluster, 0, words)
        assert client.join(tickets) == memory, f"{space.name} of cluster {cluster} is wrong"
    return {
        "packets": client.counts.requests - first,
        "line_seconds": round(seconds, 4),
        "payload_bytes_per_second": round(payload / seconds),
        "faults": line.faults_done,
        **asdict(client.counts),
    }


def soak_images(count: int, faults: Faults | None, seed: int) -> dict[str, Any]:
    """Stream images and compare every output with the reference of the network, not the machine."""
    config = ArrayConfig(name="soak", lanes=16, act_depth=512, code_depth=2048, table_depth=1024)
    limits: dict[str, Any] = {"max_layers": 3, "max_macs": 20_000, "logits": True}
    while check_network(network := random_network(seed, **limits), config):
        seed += 1
    bundle = compile_network(network, config)
    images = random_images(network, 100, seed)
    expected = Reference(network).run(images)
    device = GoldenDevice(config)
    line = line_to(device, faults)
    with Session(line) as session:
        session.load(bundle)
        begin = line.now()
        rng = random.Random(seed)
        order = [rng.randrange(len(images)) for _ in range(count)]
        compared = 0
        for result in session.stream(images[number] for number in order):
            right = expected[order[result.number]]
            assert np.array_equal(result.output, right), f"image {result.number} is wrong"
            assert result.cycles == bundle.manifest["predicted_cycles"]
            compared += 1
        assert compared == count
        seconds = line.now() - begin
        runs = device.run_cycles // bundle.manifest["predicted_cycles"]
        assert runs == count, f"{runs} runs for {count} images"
        return {
            "images": count,
            "compared": compared,
            "line_seconds": round(seconds, 4),
            "images_per_second": round(count / seconds, 1),
            "faults": line.faults_done,
            **asdict(session.link),
        }


WORKS = {"packets": (soak_packets, 100_000, "payload_bytes_per_second")}
WORKS["images"] = (soak_images, 10_000, "images_per_second")


def measure(work: str, count: int | None = None, seed: int = 1) -> dict[str, Any]:
    """Both runs of a work, and the share of the throughput that is left on the bad line."""
    function, usual, rate = WORKS[work]
    begin = time.monotonic()
    good = function(count or usual, None, seed)
    bad = function(count or usual, Faults(**{**asdict(BAD), "seed": seed}), seed)
    return {
        "seed": seed,
        "faults": {key: value for key, value in asdict(BAD).items() if value},
        "fault_free": good,
        "faulty": bad,
        "throughput_share": round(bad[rate] / good[rate], 4),
        "wall_seconds": round(time.monotonic() - begin, 1),
    }


@app.command()
def soak(
    work: Annotated[str, typer.Argument(help="packets, or images.")],
    count: Annotated[int | None, typer.Option(min=1, help="How many.")] = None,
    seed: Annotated[int, typer.Option(help="Of data and faults.")] = 1,
    save: Annotated[bool, typer.Option(help="Keep the figures in benchmarks/soak.json.")] = False,
) -> None:
    """A long time on a line with 1 % each of lost, damaged, repeated and reordered packets."""
    if work not in WORKS:
        raise PlumError(f"no work {work!r}; it must be packets or images")
    found = measure(work, count, seed)
    if save:
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps({**known, work: found}, indent=2, sort_keys=True) + "\n")
    console.print_json(found)
    if work == "packets" and found["throughput_share"] < BAR:
        raise typer.Exit(1)


if __name__ == "__main__":
    console.run(app, "benchmarks.soak")
