"""`plum bench-link`: what the way to a device costs, apart from the array."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from plum_host.bundle import Bundle
from plum_host.protocol import BROADCAST, SPACE_BYTES, Space
from plum_hw import console
from plum_hw.bench import ASSUMED_CLOCK_MHZ
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice

if TYPE_CHECKING:
    from plum_host.session import Session
    from plum_hw.virtual import VirtualBoard

#: Lines that are simulated: bytes a second (8N1: a tenth of the baud rate), seconds one way, and
#: whether packets travel as UDP over Ethernet.
LINES = {
    "serial, 1 Mbaud": (1e5, 0.5e-3, False),
    "serial, 12 Mbaud": (1.2e6, 0.5e-3, False),
    "UDP, 100 Mbit/s": (1.25e7, 0.1e-3, True),
}
_REPLAYS = 10
_SEED = 1


@dataclass(frozen=True)
class Flow:
    """What streaming some images took. Bytes are those of the line, framing included."""

    seconds: float
    images: int
    payload: int  # bytes of words that were written
    sent: int
    received: int
    dry: int  # runs after which the device had nothing to do
    host_seconds: float  # of the processor, in this process
    equal: bool  # outputs to the golden machine's, cycles to the prediction

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "images_per_second": round(self.images / self.seconds, 2),
            "payload_share": round(self.payload / self.sent, 4),
            "bytes_sent_per_image": round(self.sent / self.images, 1),
            "bytes_received_per_image": round(self.received / self.images, 1),
            "waits_per_image": round(max(0, self.dry - 1) / self.images, 4),
            "equal": self.equal,
        }


def random_input(bundle: Bundle, count: int) -> np.ndarray:
    """Images of random pixels for a network, uint8 [N, C, H, W]."""
    entry = bundle.manifest["input"]
    rng = np.random.default_rng(_SEED)
    return rng.integers(0, 1 << entry["bits"], (count, *entry["shape"]), np.uint8)


def flow(session: Session, bundle: Bundle, images: np.ndarray, expected: np.ndarray) -> Flow:
    """Stream images through a session that has loaded the bundle."""
    transport, counts = session.transport, session.link
    before = (transport.sent, transport.received, counts.payload_sent, counts.dry)
    begin, cpu = transport.now(), time.process_time()
    equal = True
    for result in session.stream(images):
        equal &= bool(np.array_equal(result.output, expected[result.number]))
        equal &= result.cycles == bundle.manifest["predicted_cycles"]
    return Flow(
        seconds=transport.now() - begin,
        images=len(images),
        payload=counts.payload_sent - before[2],
        sent=transport.sent - before[0],
        received=transport.received - before[1],
        dry=counts.dry - before[3],
        host_seconds=time.process_time() - cpu,
        equal=equal,
    )


def simulated(
    bundle: Bundle, images: np.ndarray, expected: np.ndarray, line: str, clock_hz: float
) -> dict[str, Any]:
    """Images and weights over a line whose time is simulated, to a golden device."""
    from plum_host.faults import SimulatedLine
    from plum_host.session import Session

    rate, latency, datagrams = LINES[line]
    config = ArrayConfig.from_dict(bundle.manifest["config"])
    transport = SimulatedLine(
        GoldenDevice(config),
        bytes_per_second=rate,
        latency=latency,
        clock_hz=clock_hz,
        datagrams=datagrams,
    )
    with Session(transport) as session:
        session.load(bundle)
        before = transport.bytes_out
        found = flow(session, bundle, images, expected)
        # With the headers, checks and gaps of Ethernet.
        wire = transport.bytes_out - before
        # The same memory over and over, enough of it that its begin and end do not count.
        words = config.code_depth
        data = np.random.default_rng(_SEED).bytes(SPACE_BYTES[Space.CODE] * words)
        repeats = max(8, (1 << 18) // len(data))
        begin = transport.now()
        session.write_memories([(Space.CODE, BROADCAST, 0, data)] * repeats)
        weights = repeats * len(data) / (transport.now() - begin)
    return {
        "line": line,
        "bytes_per_second": rate,
        **found.as_dict(),
        "payload_share": round(found.payload / wire, 4),
        "line_used": round(wire / rate / found.seconds, 4),
        "images_per_second_of_link": round(rate * found.images / wire, 1),
        "weights_share": round(weights / rate, 4),
    }


@contextlib.contextmanager
def opened(
    device: str, config: dict[str, Any], activity: console.Activity
) -> Iterator[tuple[Session, VirtualBoard | None]]:
    """A session with a device, and the board if it is a virtual one of our own."""
    from plum_host.session import Session

    if device != "virtual":
        with Session.open(device, config) as session:
            yield session, None
        return
    from plum_hw.virtual import VirtualBoard

    array = ArrayConfig.from_dict(config)
    board = VirtualBoard(array, progress=lambda text: activity.step(f"virtual: {text}"))
    with board, Session.open(board.url) as session:
        yield session, board


def measure(
    bundle: Bundle, device: str, count: int, clock_hz: float, activity: console.Activity
) -> dict[str, Any]:
    """The whole report."""
    images = random_input(bundle, count)
    config = bundle.manifest["config"]
    cycles = bundle.manifest["predicted_cycles"]
    activity.step("golden machine")
    with opened("golden", config, activity) as (session, _):
        session.load(bundle)
        expected = session.run(images).outputs
    activity.step(f"{device}: starting")
    with opened(device, config, activity) as (session, board):
        identity = session.identify()
        session.load(bundle)
        activity.step(f"{device}: images")
        found = flow(session, bundle, images, expected)
        activity.step(f"{device}: replay")
        begin = time.monotonic()
        replayed = session.replay(_REPLAYS)
        replay = time.monotonic() - begin
        report: dict[str, Any] = {
            "device": device,
            "array": config["name"],
            "build": identity.build,
            "predicted_cycles": cycles,
            "streamed": {
                **found.as_dict(),
                # The golden machine has answered before anything can be waited for.
                **({"waits_per_image": None} if device == "golden" else {}),
                "host_cpu_ms_per_image": round(1000 * found.host_seconds / count, 3),
            },
            "replay": {
                "runs": _REPLAYS,
                "cycles": replayed,
                "cycles_of_first_part": sum(
                    layer["cycles"] for layer in bundle.manifest["layers"][: bundle.parts[0]]
                ),
                "runs_per_second": round(_REPLAYS / replay, 2),
            },
            "compute": {
                "clock_mhz": (identity.clock_hz or clock_hz) / 1e6,
                "images_per_second": round((identity.clock_hz or clock_hz) / cycles, 1),
            },
        }
    if board is not None:
        board.close()
    if board is not None and board.cycles_per_second:
        report["simulated_cycles_per_second"] = round(board.cycles_per_second)
    activity.step("lines in simulated time")
    report["simulated_lines"] = [
        simulated(bundle, images, expected, line, clock_hz) for line in LINES
    ]
    return report


def link_bench_command(
    bundle: Annotated[Path, typer.Argument(help="Compiled bundle (.plum).", metavar="BUNDLE")],
    device: Annotated[
        str, typer.Option(help="golden, virtual, a serial port, or socket://HOST:PORT.")
    ] = "golden",
    images: Annotated[
        int, typer.Option(parser=console.positive, metavar="N", help="Random images.")
    ] = 30,
    clock: Annotated[
        int,
        typer.Option(parser=console.positive, metavar="MHZ", help="Where the device tells none."),
    ] = ASSUMED_CLOCK_MHZ,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Rates of the link and of the array, apart: on a device, and on lines in simulated time.

    Exit code 1 where an output or a cycle count is not what it must be.
    """
    loaded = Bundle.load(bundle)
    with console.Activity() as activity:
        report = measure(loaded, device, images, 1e6 * clock, activity)
    if as_json:
        console.print_json(report)
    else:
        _print(report)
    good = all(flow["equal"] for flow in (report["streamed"], *report["simulated_lines"]))
    same = report["replay"]["cycles"] == report["replay"]["cycles_of_first_part"]
    if not good or not same:
        raise typer.Exit(1)


def _print(report: dict[str, Any]) -> None:
    streamed, replay, compute = report["streamed"], report["replay"], report["compute"]
    waits = streamed["waits_per_image"]
    console.say(f"device             {report['device']}, {report['array']}, {report['build']}")
    console.say(
        f"streamed           {streamed['images_per_second']:,} images a second, "
        f"{streamed['host_cpu_ms_per_image']} ms of host CPU each"
        + ("" if waits is None else f", {waits} waits each")
    )
    console.say(
        f"line               {streamed['bytes_sent_per_image']:,.0f} bytes out and "
        f"{streamed['bytes_received_per_image']:,.0f} back an image, "
        f"{100 * streamed['payload_share']:.1f} % payload"
    )
    console.say(
        f"replay on chip     {replay['runs_per_second']:,} runs of the first part a second, "
        f"{replay['cycles']:,} cycles, {replay['cycles_of_first_part']:,} predicted"
    )
    console.say(
        f"array alone        {compute['images_per_second']:,} images a second at "
        f"{compute['clock_mhz']:g} MHz"
    )
    if "simulated_cycles_per_second" in report:
        speed = f"{report['simulated_cycles_per_second']:,} cycles a second of processor time"
        console.say(f"simulation         {speed}")
    for line in report["simulated_lines"]:
        console.say(
            f"{line['line']:<18} {line['images_per_second']:,} images a second "
            f"(the line allows {line['images_per_second_of_link']:,}), "
            f"{100 * line['payload_share']:.1f} % payload, "
            f"line used {100 * line['line_used']:.1f} %, "
            f"{line['waits_per_image']} waits; weights {100 * line['weights_share']:.1f} %"
        )
