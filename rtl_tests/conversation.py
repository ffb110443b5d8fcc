"""What a host says to a device to run an image, and a golden device that is told the same."""

from __future__ import annotations

import struct

import numpy as np

from plum_host.bundle import Bundle
from plum_host.packets import encode
from plum_host.protocol import (
    BROADCAST,
    LAYER_COUNTERS,
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Op,
    Reason,
    Space,
)
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.golden.machine import Machine

Request = tuple[int, bytes]  # opcode, and what follows it


def place(space: Space, cluster: int, address: int, count: int) -> bytes:
    return struct.pack("<BBHH", space, cluster, address, count)


def write(
    config: ArrayConfig, space: Space, cluster: int, address: int, data: bytes
) -> list[Request]:
    """WRITE requests."""
    size = SPACE_BYTES[space]
    step = (config.packet_bytes - 8) // size * size
    parts = [(start // size, data[start : start + step]) for start in range(0, len(data), step)]
    return [
        (Op.WRITE, place(space, cluster, address + start, len(part) // size) + part)
        for start, part in parts
    ]


def read(
    config: ArrayConfig, space: Space, cluster: int, address: int, count: int
) -> list[Request]:
    """READ requests, and the first as a CHECK."""
    step = (config.packet_bytes - 2) // SPACE_BYTES[space]
    places = [
        place(space, cluster, address + start, min(step, count - start))
        for start in range(0, count, step)
    ]
    return [(Op.READ, each) for each in places] + [(Op.CHECK, each) for each in places[:1]]


def load(config: ArrayConfig, bundle: Bundle, part: int) -> list[Request]:
    """Requests that write code and tables."""
    requests = []
    for space, words in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
        for cluster in range(config.clusters):
            requests += write(config, space, cluster, 0, words[part][cluster].tobytes())
    return requests


def conversation(config: ArrayConfig, bundle: Bundle, image: np.ndarray) -> list[Request]:
    """Requests that run an image, part by part, and read all that came of it."""
    zeros = bytes(config.act_depth * config.groups * SPACE_BYTES[Space.ACTIVATION])
    requests = [
        (Op.READ, place(Space.IDENTITY, 0, 0, 8)),
        *write(config, Space.ACTIVATION, BROADCAST, 0, zeros),
    ]
    # What is read may be written again: the machine says what it is.
    machine = Machine(config)
    for number, turn in enumerate(machine.turns(bundle, image)):
        results_at = 1 + number % 2
        for each in turn.writes:
            requests += write(config, Space.ACTIVATION, each.cluster, each.address, each.data)
        layers = bundle.parts[turn.part]
        requests += load(config, bundle, turn.part)
        arguments = struct.pack("<HHHH", 0, layers, 1, results_at)
        requests.append((Op.RUN, place(Space.RESULT, 0, results_at - 1, 1) + arguments))
        requests += read(config, Space.COUNTER, 0, 0, LAYER_COUNTERS + layers)
        for each in turn.reads:
            at = results_at if each.space == Space.RESULT else 0
            requests += read(config, each.space, each.cluster, at + each.address, each.words)
        machine.load(bundle, turn.part)
        machine.run(0, layers)
    return requests


class Golden:
    """A golden device in a session, with memories as they are after power-up.

    Members: ``reset``, the bytes that begin the session, and ``answer``, those that come back.
    """

    def __init__(self, config: ArrayConfig, session: int) -> None:
        self._device = GoldenDevice(config)
        self._number = 1
        self.reset = encode(struct.pack("<BBH", 0, Op.RESET, session))
        self.answer = encode(bytes([1, Reason.RESET, 0, 0, 0, 0, PROTOCOL_VERSION]))
        self._device.feed(self.reset)

    def serve(self, request: Request, planted: bytes | None = None) -> tuple[bytes, bytes]:
        """The request's bytes and those of its answer; `planted`: what the golden device is told
        in place of what follows the opcode.
        """
        op, rest = request
        head = bytes([self._number, op])
        self._number = self._number + 1 & 255
        answer = self._device.feed(encode(head + (rest if planted is None else planted)))
        return encode(head + rest), answer
