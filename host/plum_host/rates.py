"""Line rates of a serial port: the fastest that both ends take."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from plum_host.client import DeviceClient
from plum_host.errors import PlumHostError
from plum_host.identity import Identity
from plum_host.protocol import RATE_BITS, SPACE_BYTES, Space
from plum_host.transports import SerialTransport

#: Rates that an Arty's FT2232H holds without jitter, the fastest first; boards begin with the last.
#: Ref: FTDI DS_FT2232H: 12 Mbaud divided by a whole number.
RATES = (12_000_000, 6_000_000, 4_000_000, 3_000_000, 2_000_000, 1_000_000)
#: Of a bit's length: a byte has ten, and the last must still be hit at both ends.
_MOST_ERROR = 0.02
#: Words that are written and read back at a rate, that often.
_ECHO_WORDS, _ECHO_ROUNDS = 512, 4


@dataclass(frozen=True)
class Trial:
    """What came of a rate. `clean`: every word came back, and nothing had to be sent again."""

    baud: int
    clean: bool
    found: str


def rate_for(clock_hz: int, baud: int) -> int | None:
    """What LINE word 0 is to be for a rate; None where the device cannot have it."""
    rate = round((baud << RATE_BITS) / clock_hz)
    if not 0 < rate <= 1 << RATE_BITS - 3:
        return None
    exact = rate * clock_hz / (baud << RATE_BITS)
    return rate if abs(exact - 1) <= _MOST_ERROR else None


def echo(client: DeviceClient) -> str:
    """Write words and read them back: what is wrong, nothing if nothing is."""
    before = client.counts.repeated + client.counts.asked_again
    source = random.Random(1)
    for _ in range(_ECHO_ROUNDS):
        data = source.randbytes(SPACE_BYTES[Space.ACTIVATION] * _ECHO_WORDS)
        client.join(client.write(Space.ACTIVATION, 0, 0, data))
        if client.join(client.read(Space.ACTIVATION, 0, 0, _ECHO_WORDS)) != data:
            return "words came back wrong"
    lost = client.counts.repeated + client.counts.asked_again - before
    return f"{lost} packets had to be sent again" if lost else ""


def negotiate(
    client: DeviceClient, identity: Identity, rates: Sequence[int] = RATES
) -> list[Trial]:
    """Try rates, the first first, and stay at the first that is clean.

    What was tried, in that order; where none was clean both ends are at the rate of the beginning.
    The activations' memory is overwritten.

    Raises
    ------
    PlumHostError : the way to the device has no rate, or the device does not know its clock
    """
    transport = client.transport
    if not isinstance(transport, SerialTransport):
        raise PlumHostError(f"{transport.name} has no line rate; only serial ports have one")
    if identity.clock_hz is None:
        raise PlumHostError(f"{transport.name}: the device does not know its clock")
    trials = []
    for baud in rates:
        if baud <= transport.baud:
            break
        rate = rate_for(identity.clock_hz, baud)
        if rate is None:
            trials.append(Trial(baud, False, "the device's clock cannot be divided to that"))
            continue
        wrong = _try(client, transport, rate, baud)
        trials.append(Trial(baud, not wrong, wrong or "clean"))
        if not wrong:
            break
        if transport.fall_back():
            client.fail()
    return trials


def _try(client: DeviceClient, transport: SerialTransport, rate: int, baud: int) -> str:
    try:
        client.set_rate(rate, lambda: transport.change_rate(baud))
        wrong = echo(client)
    except PlumHostError as error:
        return str(error)
    return wrong or ("" if transport.baud == baud else "the line was silent for a while")
