"""Line rates on a pseudo-terminal: where those of both ends differ nothing is understood."""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import threading
import tty
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from plum_host.errors import PlumHostError
from plum_host.protocol import BAUD_RATE, RATE_BITS
from plum_host.rates import RATES, rate_for
from plum_host.session import Session
from plum_hw.golden.device import GoldenDevice

from .work import TINY, Work, logits_work

CLOCK_HZ = 100_000_000
_TCGETS2 = 0x802C542A  # tells rates that have no name, too


class RatedTerminal:
    """A golden device behind a UART on a pseudo-terminal.

    Parameters
    ----------
    clean : rates up to this one lose nothing
    deaf : rates above this one carry nothing at all
    """

    def __init__(self, clean: int = 1 << 30, deaf: int = 1 << 30) -> None:
        self._end, self._other = os.openpty()
        tty.setraw(self._other)
        self.port = os.ttyname(self._other)
        self.baud = float(BAUD_RATE)
        self.breaks = 0
        self._clean, self._deaf = clean, deaf
        self._device = GoldenDevice(TINY, CLOCK_HZ)
        self._rng = random.Random(7)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def power_cycle(self) -> None:
        self._device = GoldenDevice(TINY, CLOCK_HZ)
        self.baud = float(BAUD_RATE)

    def _serve(self) -> None:
        while not self._closing:
            if select.select([self._end], [], [], 0.02)[0]:
                answer = self._feed(os.read(self._end, 4096))
                while answer:
                    answer = answer[os.write(self._end, answer) :]

    def _feed(self, data: bytes) -> bytes:
        answer = b""
        for byte in data:
            host = self._host_baud()
            if abs(host / self.baud - 1) > 0.03:
                # At a higher rate the zeros of a slow 0x00 are a break.
                if byte == 0 and host < self.baud:
                    self.baud = float(BAUD_RATE)
                    self.breaks += 1
                else:
                    answer += self._device.feed(self._rng.randbytes(1))
            else:
                answer += self._device.feed(self._spoil(bytes([byte])))
            if self._device.line_rates:
                self.baud = self._device.line_rates.pop() * CLOCK_HZ / (1 << RATE_BITS)
        if abs(self._host_baud() / self.baud - 1) > 0.03:
            return self._rng.randbytes(len(answer))
        return self._spoil(answer)

    def _spoil(self, data: bytes) -> bytes:
        if self.baud > 1.01 * self._deaf:
            return b""
        if self.baud <= 1.01 * self._clean:
            return data
        return bytes(byte ^ (self._rng.random() < 0.002) for byte in data)

    def _host_baud(self) -> int:
        state = fcntl.ioctl(self._other, _TCGETS2, bytes(44))
        return int(struct.unpack_from("<I", state, 40)[0])

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        os.close(self._other)
        os.close(self._end)


Make = Callable[..., RatedTerminal]


@pytest.fixture(scope="module")
def logits() -> Work:
    return logits_work()


@pytest.fixture
def terminals() -> Iterator[Make]:
    opened: list[RatedTerminal] = []

    def make(**options: int) -> RatedTerminal:
        opened.append(RatedTerminal(**options))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.close()


def test_the_fastest_rate_is_taken(terminals: Make, logits: Work) -> None:
    terminal = terminals()
    with Session.open(terminal.port, timeout=0.5) as session:
        (trial,) = session.negotiate()
        assert (trial.baud, trial.clean) == (12_000_000, True)
        assert terminal.baud == pytest.approx(12e6, rel=0.001)
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)
    # Whoever comes next knows nothing of it.
    with Session.open(terminal.port, timeout=0.5) as session:
        assert terminal.baud == BAUD_RATE
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)
    assert terminal.breaks == 1


def test_rates_that_lose_or_carry_nothing_are_left(terminals: Make, logits: Work) -> None:
    terminal = terminals(clean=3_000_000, deaf=6_000_000)
    with Session.open(terminal.port, timeout=0.1) as session:
        trials = session.negotiate()
        assert [(trial.baud, trial.clean) for trial in trials] == [
            (12_000_000, False),
            (6_000_000, False),
            (4_000_000, False),
            (3_000_000, True),
        ]
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_without_a_clean_rate_it_stays_as_it_was(terminals: Make) -> None:
    terminal = terminals(deaf=1_000_000)
    with Session.open(terminal.port, timeout=0.1) as session:
        trials = session.negotiate((2_000_000, 1_000_000))
        assert [(trial.baud, trial.clean) for trial in trials] == [(2_000_000, False)]
        assert session.identify().name == "tiny"
    assert terminal.baud == BAUD_RATE


def test_a_device_that_was_restarted_is_found_again(terminals: Make, logits: Work) -> None:
    """It is back at its first rate, and the host still at the other one."""
    terminal = terminals()
    with Session.open(terminal.port, timeout=0.2) as session:
        session.negotiate()
        session.load(logits.bundle)
        terminal.power_cycle()
        with pytest.raises(PlumHostError):
            session.run(logits.images)
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_rates_of_a_clock() -> None:
    assert [rate_for(CLOCK_HZ, baud) for baud in RATES] == [1966, 983, 655, 492, 328, 164]
    assert rate_for(27_000_000, 4_000_000) is None  # not eight cycles a bit
    assert rate_for(27_000_000, 3_000_000) == 1820
    assert rate_for(CLOCK_HZ, 9_600) is None  # too slow to be counted exactly


def test_ways_without_a_rate() -> None:
    with Session.open("golden", "tiny") as session, pytest.raises(PlumHostError, match="line rate"):
        session.negotiate()
