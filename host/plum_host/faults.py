"""Lines that fail on purpose, at seeded rates."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from plum_host.datagrams import PACKET_BYTES, Gatherer, wire_bytes
from plum_host.errors import TransportError
from plum_host.packets import END
from plum_host.transports.base import StreamTransport


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares of the packets that something happens to, each way.

    Parameters
    ----------
    drop : it does not arrive
    corrupt : some of its bytes are changed
    repeat : it arrives twice
    reorder : it arrives after the next one
    delay : it arrives after up to 8 others
    cut : it ends early, without its 0x00
    dead_after : packets to the device after which the line is dead; None: never
    seed : of it all
    """

    drop: float = 0.0
    corrupt: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    cut: float = 0.0
    dead_after: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("drop", "corrupt", "repeat", "reorder", "delay", "cut"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it must be 0 to 1")


class Spoiler:
    """Faults of one direction.

    *Members*: ``packets`` that came; ``faults`` that were done.
    """

    def __init__(self, faults: Faults, direction: str) -> None:
        self._plan = faults
        self._random = random.Random(f"{faults.seed} {direction}")
        self._held: list[tuple[int, bytes]] = []  # packets to go before each is let through
        self._rest = b""
        self.packets = self.faults = 0

    def spoil(self, data: bytes) -> bytes:
        """What arrives of bytes of the line; of a packet nothing before its 0x00 has come."""
        *frames, self._rest = (self._rest + data).split(END)
        return b"".join(part for frame in frames for part in self._pass(frame + END))

    def spoil_frame(self, frame: bytes) -> list[bytes]:
        """What arrives where one packet was sent, its 0x00 included."""
        return self._pass(frame)

    def flush(self) -> bytes:
        """What was held back."""
        late = b"".join(frame for _, frame in self._held)
        self._held.clear()
        return late

    def _pass(self, frame: bytes) -> list[bytes]:
        if frame == END:
            return [frame]
        self.packets += 1
        released = [late for left, late in self._held if left <= 1]
        self._held = [(left - 1, late) for left, late in self._held if left > 1]
        return [*self._one(frame), *released]

    def _one(self, frame: bytes) -> list[bytes]:
        plan, rng = self._plan, self._random
        happens = rng.random()
        for kind in ("drop", "corrupt", "repeat", "reorder", "delay", "cut"):
            share = getattr(plan, kind)
            if happens >= share:
                happens -= share
                continue
            self.faults += 1
            if kind == "corrupt":
                return [self._corrupt(frame)]
            if kind == "repeat":
                return [frame, frame]
            if kind == "cut":
                return [frame[: rng.randrange(len(frame))]]
            if kind in ("reorder", "delay"):
                self._held.append((1 if kind == "reorder" else rng.randrange(2, 9), frame))
            return []
        return [frame]

    def _corrupt(self, frame: bytes) -> bytes:
        changed = bytearray(frame)
        for _ in range(self._random.choice([1, 1, 1, 2, 5])):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)


class FaultyTransport(StreamTransport):
    """A way to a device that loses, damages and shuffles packets.

    Parameters
    ----------
    inner : the way itself; it is closed with this one
    faults : what goes wrong
    """

    def __init__(self, inner: StreamTransport, faults: Faults) -> None:
        super().__init__(inner.name)
        self.inner = inner
        self._faults = faults
        self.out = Spoiler(faults, "out")
        self.back = Spoiler(faults, "back")

    def now(self) -> float:
        return self.inner.now()

    def write_bytes(self, data: bytes) -> None:
        limit = self._faults.dead_after
        if limit is not None and self.out.packets >= limit:
            raise TransportError(f"{self.name}: the connection broke (a planned fault)")
        self.inner.write_bytes(self.out.spoil(data))

    def read_bytes(self, seconds: float) -> bytes:
        data = self.inner.read_bytes(seconds)
        if data:
            return self.back.spoil(data)
        if late := self.out.flush():
            self.inner.write_bytes(late)
        return self.back.flush()

    def close(self) -> None:
        self.inner.close()


class SimulatedLine(StreamTransport):
    """A device in this process behind a line whose time is simulated.

    Nothing waits: `now` is the time that the line and the device would have taken. Each way has a
    rate of its own; a packet arrives when its last byte does.

    Parameters
    ----------
    device : a `plum_hw.golden.device.GoldenDevice`, or another with `feed` and `run_cycles`
    bytes_per_second : of the line, each way
    latency : seconds from one end to the other
    clock_hz : of the array
    faults : what goes wrong on the line
    datagrams : packets travel as UDP over Ethernet, gathered as by `UdpTransport`; time and
        `bytes_out` then count all that a frame costs
    """

    def __init__(
        self,
        device: object,
        *,
        bytes_per_second: float,
        latency: float = 0.0,
        clock_hz: float = 100e6,
        faults: Faults | None = None,
        datagrams: bool = False,
        name: str = "simulated line",
    ) -> None:
        super().__init__(name)
        self._device = device
        self._byte = 1 / bytes_per_second
        self._latency = latency
        self._clock_hz = clock_hz
        self._out = Spoiler(faults or Faults(), "out")
        self._back = Spoiler(faults or Faults(), "back")
        self._now = 0.0
        self._out_free = self._back_free = self._device_free = 0.0
        self._cycles = 0
        self._under_way: deque[tuple[float, bytes]] = deque()  # to the device, with arrival
        self._coming: deque[tuple[float, bytes]] = deque()  # to the host
        self.bytes_out = self.bytes_back = 0
        self._rest = b""
        self._answer_rest = b""
        self._datagrams = Gatherer() if datagrams else None
        if datagrams:
            self.packet_bytes = PACKET_BYTES

    def now(self) -> float:
        return self._now

    @property
    def faults_done(self) -> int:
        """Packets that something happened to."""
        return self._out.faults + self._back.faults

    @property
    def busy_seconds(self) -> float:
        """Time that the line to the device was busy."""
        return self.bytes_out * self._byte

    def write_bytes(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(END)
        for frame in frames:
            whole = frame + END
            if self._datagrams is None:
                self._put(len(whole), [whole])
            else:
                self._put_datagrams(self._datagrams.add(whole))

    def _put(self, size: int, frames: list[bytes]) -> None:
        self._out_free = max(self._now, self._out_free) + size * self._byte
        self.bytes_out += size
        for frame in frames:
            for part in self._out.spoil_frame(frame):
                self._under_way.append((self._out_free + self._latency, part))

    def _put_datagrams(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            frames = [frame + END for frame in datagram.split(END)[:-1]]
            self._put(wire_bytes(len(datagram)), frames)

    def read_bytes(self, seconds: float) -> bytes:
        if self._datagrams is not None:
            self._put_datagrams(self._datagrams.flush())
        end = self._now + seconds
        while True:
            self._deliver(self._coming[0][0] if self._coming else end)
            if self._coming and self._coming[0][0] <= end:
                at, data = self._coming.popleft()
                self._now = max(self._now, at)
                return data
            if not self._under_way or self._under_way[0][0] > end:
                break
        self._now = max(self._now, end)
        for late in (self._out.flush(),):
            if late:
                self._under_way.append((self._now, late))
        return self._back.flush()

    def _deliver(self, until: float) -> None:
        """Let the device have what arrives by then."""
        while self._under_way and self._under_way[0][0] <= until:
            at, data = self._under_way.popleft()
            answer = self._device.feed(data)  # type: ignore[attr-defined]
            cycles = self._device.run_cycles - self._cycles  # type: ignore[attr-defined]
            self._cycles += cycles
            self._device_free = max(self._device_free, at) + cycles / self._clock_hz
            *frames, self._answer_rest = (self._answer_rest + answer).split(END)
            for frame in frames:
                whole = frame + END
                begin = max(self._device_free, self._back_free)
                size = len(whole) if self._datagrams is None else wire_bytes(len(whole))
                self._back_free = begin + size * self._byte
                self.bytes_back += size
                for part in self._back.spoil_frame(whole):
                    self._coming.append((self._back_free + self._latency, part))
            if self._coming:
                until = min(until, self._coming[0][0])

    def close(self) -> None:
        self._coming.clear()
        self._under_way.clear()
