"""`python -m benchmarks.fuzz TARGET`: bytes that nobody means well, for as long as one likes.

Targets are the readers of what a host or a device did not make itself: bundle, network file,
packets on both ends, a device behind its protocol, and a host that is answered by rubbish. A target
must end in bounded time and memory with a result or with its own error; anything else is a finding.
Cases grow by mutation from a corpus (`tests/fuzz/corpus`); those that reach new lines are kept for
the run, and `--save` adds the smallest of them to the corpus.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from plum_host.bundle import Bundle, _named
from plum_host.client import DeviceClient
from plum_host.container import canonical_json, dump
from plum_host.errors import BundleError, PlumHostError
from plum_host.packets import END, PacketParser, encode, frame_bytes
from plum_host.protocol import MAX_PACKET_BYTES, Op, Space
from plum_host.transports import InProcessTransport
from plum_hw import console
from plum_hw.config import ArrayConfig
from plum_hw.errors import PlumError
from plum_hw.golden.device import GoldenDevice
from plum_hw.ir.file import loads_network
from plum_hw.ir.random import random_network
from plum_hw.presets import preset

CORPUS = Path(__file__).parents[1] / "tests" / "fuzz" / "corpus"
FILE = Path(__file__).with_name("fuzz.json")
#: No case may take more processor time or memory than this.
MOST_SECONDS = 5.0
MOST_BYTES = 64 << 20
_MOST_CASE = 1 << 16
_KEPT = 64

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_TINY = ArrayConfig(name="fuzz", lanes=16, act_depth=64, code_depth=256, table_depth=128)


def try_bundle(data: bytes) -> None:
    """A bundle is read, or refused with a BundleError."""
    try:
        bundle = Bundle.from_bytes(data)
    except BundleError:
        return
    assert bundle.to_bytes() == Bundle.from_bytes(bundle.to_bytes()).to_bytes()


@functools.cache
def _good_bundle() -> Bundle:
    return Bundle.from_bytes(good_case("bundle"))


def try_manifest(data: bytes) -> None:
    """The manifest of a bundle whose checksum is right, beside good tensors."""
    tensors = _named(_good_bundle().code, _good_bundle().table, _good_bundle().maps)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    checksum = hashlib.sha256(data).hexdigest()
    try_bundle(dump({"plum_bundle": text, "plum_sha256": checksum}, tensors))


def try_network(data: bytes) -> None:
    """A network file is read, or refused."""
    try:
        loads_network(data)
    except (PlumError, PlumHostError):
        return


def try_parser(data: bytes) -> None:
    """The host's parser: bounded memory, and the next good packet is received."""
    parser = PacketParser(MAX_PACKET_BYTES)
    at = 0
    while at < len(data):
        step = 1 + data[at] % 61
        parser.feed(data[at : at + step])
        assert len(parser._frame) <= frame_bytes(MAX_PACKET_BYTES)
        at += step
    *_, last = parser.feed(END + encode(b"good"))
    assert last == b"good"


def try_device(data: bytes) -> None:
    """A device: every answer is a packet, and a RESET and what follows work after anything."""
    device = GoldenDevice(_TINY)
    # Runs of what nobody compiled are of no interest, and may take long.
    device.machine.run = lambda *arguments: None  # type: ignore[method-assign]
    device.feed(encode(bytes([255, Op.RESET, 1, 0])))
    # Half of the cases get a frame and a checksum, so that they come further in.
    lines = [data] if data[:1] < b"\x80" else [encode(part) for part in data.split(b"\xff")]
    answers = PacketParser(MAX_PACKET_BYTES)
    for line in lines:
        for answer in answers.feed(device.feed(line)):
            # The answer to CHECK is its checksum alone.
            assert isinstance(answer, bytes) or len(answer.packet) == 6
    device.feed(END + encode(bytes([7, Op.RESET, 0xAB, 0xCD])))
    place = bytes([8, Op.READ, Space.IDENTITY, 0, 0, 0, 8, 0])
    (identity,) = PacketParser(MAX_PACKET_BYTES).feed(device.feed(encode(place)))
    assert isinstance(identity, bytes)
    assert identity[2:6] == b"PLUM"


class _Rubbish:
    """A device that answers as it should for a while, then with what it is given."""

    def __init__(self, data: bytes) -> None:
        self._device = GoldenDevice(_TINY)
        self._good, self._left = data[:1][0] % 8 if data else 0, data[1:]

    def feed(self, data: bytes) -> bytes:
        answer = self._device.feed(data)
        if self._good > 0 or not self._left:
            self._good -= 1
            return answer
        size = 1 + self._left[0] % 40
        rubbish, self._left = self._left[:size], self._left[size:]
        framed = encode(rubbish) if size % 2 else rubbish
        return framed + answer


def try_client(data: bytes) -> None:
    """A host that is answered by rubbish: right words, or an error of its own, in bounded time."""
    client = DeviceClient(InProcessTransport("rubbish", _Rubbish(data)), 0.05, 1.0)
    words = bytes(range(64))
    for _ in range(3):
        try:
            client.identify()
            client.join(client.write(Space.CODE, 0, 0, words))
            assert client.join(client.read(Space.CODE, 0, 0, 16)) is not None
        except PlumHostError:
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "bundle": try_bundle,
    "manifest": try_manifest,
    "network": try_network,
    "parser": try_parser,
    "device": try_device,
    "client": try_client,
}


def seeds(target: str) -> list[bytes]:
    """Cases to begin with: the corpus, and something good."""
    cases = [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]
    return cases or [good_case(target)]


def good_case(target: str) -> bytes:
    """Something that the target takes."""
    from plum_hw.compiler import check_network, compile_network
    from plum_hw.ir.file import dump_network

    seed = 0
    while check_network(
        network := random_network(seed, max_layers=2, max_macs=3000, max_width=8), preset("tiny")
    ):
        seed += 1
    match target:
        case "bundle":
            return compile_network(network, preset("tiny")).to_bytes()
        case "manifest":
            return canonical_json(_good_bundle().manifest).encode()
        case "network":
            return dump_network(network, digest=None)
        case "parser":
            return encode(b"some body") * 3
        case "device":
            head = bytes([0x80])
            write = bytes([0, Op.WRITE, Space.CODE, 0, 0, 0, 1, 0]) + b"abcd"
            read = bytes([1, Op.READ, Space.CODE, 0, 0, 0, 1, 0])
            run = bytes([2, Op.RUN, Space.RESULT, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0])
            return b"\xff".join([head, write, read, run])
        case _:
            return bytes([2, *range(80)])


def mutate(case: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A case like this one."""
    data = bytearray(case)
    for _ in range(rng.choice([1, 1, 2, 4, 9])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[place % len(data)] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.choice([1, 2, 4, 8]))
        elif kind == 3 and data:
            del data[place : place + rng.choice([1, 1, 4, 64])]
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            data[place : place + rng.randrange(64)] = other[begin : begin + rng.randrange(64)]
        elif kind == 6 and len(data) >= 4:
            # Numbers, also as text: what sizes and offsets are made of.
            number = rng.choice([0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 53) + 1, -1])
            text = (
                str(number).encode()
                if rng.random() < 0.5
                else number.to_bytes(8, "little", signed=True)
            )
            data[place : place + len(text)] = text
    return bytes(data[:_MOST_CASE])


class _Coverage:
    """Lines of the project that a case reaches."""

    def __init__(self) -> None:
        self.known: set[tuple[str, int]] = set()
        self._new = 0

    def run(self, function: Callable[[bytes], None], case: bytes) -> int:
        """Lines that no case before has reached."""
        self._new = 0
        sys.settrace(self._call)
        try:
            function(case)
        finally:
            sys.settrace(None)
        return self._new

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if "plum_h" in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        key = (frame.f_code.co_filename, frame.f_lineno)
        if key not in self.known:
            self.known.add(key)
            self._new += 1
        return self._line


def fuzz(target: str, seconds: float, seed: int) -> tuple[dict[str, Any], list[bytes]]:
    """Run cases for so long; the figures, and the cases that were kept.

    Raises whatever a case raised, with the case in a note.
    """
    function, rng = TARGETS[target], random.Random(seed)
    coverage = _Coverage()
    pool = seeds(target)
    for case in pool:
        coverage.run(function, case)
    kept: list[bytes] = []
    cases = 0
    slowest = 0.0
    tracemalloc.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        case = mutate(rng.choice(pool), pool, rng)
        tracemalloc.reset_peak()
        begin = time.process_time()
        try:
            # Tracing lines is slow, so most cases go without.
            new = 0
            if cases % 4 == 0:
                new = coverage.run(function, case)
            else:
                function(case)
            taken = time.process_time() - begin
            assert taken < MOST_SECONDS, f"a case took {taken:.1f} s"
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < MOST_BYTES, f"a case took {peak} bytes"
        except BaseException as error:
            error.add_note(f"case of {target}, {len(case)} bytes: {case[:400]!r}")
            raise
        slowest = max(slowest, taken)
        cases += 1
        if new:
            pool.append(case)
            kept.append(case)
    tracemalloc.stop()
    return {
        "seconds": seconds,
        "seed": seed,
        "cases": cases,
        "lines_reached": len(coverage.known),
        "kept": len(kept),
        "slowest_case_seconds": round(slowest, 3),
        "findings": 0,
    }, kept


@app.command()
def main(
    target: Annotated[str, typer.Argument(help=", ".join(TARGETS))],
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the cases.")] = 1,
    save: Annotated[
        bool, typer.Option(help="Keep figures in benchmarks/fuzz.json and cases in the corpus.")
    ] = False,
) -> None:
    """Try a reader with bytes that nobody means well."""
    if target not in TARGETS:
        raise PlumError(f"no target {target!r}; it must be one of {', '.join(TARGETS)}")
    found, kept = fuzz(target, seconds, seed)
    if save:
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for case in sorted(kept, key=len)[:_KEPT]:
            (folder / hashlib.sha256(case).hexdigest()[:16]).write_bytes(case)
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps({**known, target: found}, indent=2, sort_keys=True) + "\n")
    console.print_json({"target": target, **found})


if __name__ == "__main__":
    console.run(app, "benchmarks.fuzz")
