"""Many numbered requests to a device under way at once, each carried out exactly once."""

from __future__ import annotations

import secrets
import struct
from collections import deque
from collections.abc import Iterable

from plum_host.errors import (
    DeviceRestartedError,
    DeviceTimeoutError,
    ProtocolError,
    RefusedError,
    TransportError,
)
from plum_host.packets import checksum
from plum_host.protocol import (
    MAX_WINDOW,
    NOTICE,
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Op,
    Reason,
    Status,
)
from plum_host.tickets import LinkCounts, Ticket
from plum_host.transports.base import DamagedPacketError, Transport

_ATTEMPTS = 4
_NOTICE_BYTES = sum(size for _, size in NOTICE)
_STATUSES = {int(status): status for status in Status}
_REASONS = {int(reason): reason for reason in Reason}
#: Seconds without an answer before the device is asked how far it is: at first, and at least.
_FIRST_PROBE, _LEAST_PROBE = 0.25, 0.02
#: Bytes of answers that may be under way: nothing holds the device back but the system's buffers.
_MOST_REPLIES = 8192


class RequestWindow:
    """The requests that the device has not answered, as many as it can queue, and their repetition.

    Requests are carried out in the order in which they are submitted, each once. What is lost is
    repeated from there on (go-back-N); an answer that is lost is asked for by a READ of the same
    words, so whoever submits must not change them before it has come.

    After an error the next request begins a new session, which stops whatever the device runs.

    Parameters
    ----------
    transport : the way to the device
    timeout : seconds of silence before the device is asked again; after four of them it is given up
    limit : seconds that one request, so a run, may take
    """

    def __init__(self, transport: Transport, timeout: float, limit: float = 300.0) -> None:
        self.transport = transport
        self.counts = LinkCounts()
        #: Sessions begun: where a new one was, what the device holds is not known.
        self.sessions = 0
        self._timeout = timeout
        self._limit = limit
        self._answered_at = 0.0  # or when the first of those unanswered was sent
        self._room = 128
        self._open = False
        self._tag = 0
        self._next = 0  # sequence number
        self._first = 0  # of the session
        self._sent: deque[Ticket] = deque()  # unanswered, in the order of their numbers
        self._waiting: deque[Ticket] = deque()  # not sent yet
        self._used = 0  # places of `_sent` in the device's queue
        self._replies = 0  # bytes that `_sent` will be answered with
        self._heard = 0.0
        self._unheard = 0  # probes since
        self._probe_at = 0.0
        self._probe_after = _FIRST_PROBE
        self._rtt: float | None = None

    # ---- requests --------------------------------------------------------------------------------

    def submit(self, ticket: Ticket) -> Ticket:
        """Send a request as soon as the device has room for it."""
        self.settle()
        if ticket.places > self._room:
            raise ProtocolError(
                f"{self.transport.name}: a request of {ticket.places} places; the device's queue "
                f"has {self._room}"
            )
        self.counts.requests += 1
        if ticket.op == Op.WRITE:
            self.counts.payload_sent += len(ticket.data)
        self._waiting.append(ticket)
        with _Guard(self):
            self._send_waiting()
            if self._waiting:
                self.counts.waits += 1
            while self._waiting:
                self._pump()
        return ticket

    def poll(self) -> None:
        """Take in what has come, without waiting."""
        with _Guard(self):
            while self._take(self.transport.now()):
                pass

    def wait(self, ticket: Ticket) -> bytes:
        """Words that the request was answered with, once it is.

        Raises
        ------
        DeviceTimeoutError : nothing was answered for `limit` seconds although the device is there:
            what it runs was stopped
        """
        with _Guard(self):
            while ticket.answer is None:
                self._pump()
        return ticket.answer

    def join(self, tickets: Iterable[Ticket]) -> bytes:
        """Words that all of them were answered with."""
        return b"".join(self.wait(ticket) for ticket in tickets)

    def drain(self) -> None:
        """Wait until every request was answered."""
        with _Guard(self):
            while self._sent or self._waiting:
                self._pump()

    # ---- sessions --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin a session: whatever the device does is stopped, what it received is forgotten."""
        self._open = False
        self._sent.clear()
        self._waiting.clear()
        self._used = self._replies = 0
        self._tag = 0
        self.counts.resets += 1
        first, session = secrets.randbelow(256), 1 + secrets.randbelow(0xFFFF)
        body = struct.pack("<BBH", first, Op.RESET, session)
        heard_other = False
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.transport.fall_back()
            self.transport.resync()
            self.transport.send(body)
            self.counts.sent += 1
            deadline = self.transport.now() + self._timeout
            while self.transport.now() < deadline:
                try:
                    answer = self.transport.receive(deadline)
                except DamagedPacketError:
                    continue
                except DeviceTimeoutError:
                    break
                if len(answer) != _NOTICE_BYTES or answer[1] not in _REASONS:
                    heard_other = True
                    continue
                self._check_version(answer)
                if answer[1] == Reason.RESET and answer[3] == first:
                    self._first = self._next = (first + 1) & 0xFF
                    self._open = True
                    self.sessions += 1
                    self._touch()
                    return
        if heard_other:
            raise ProtocolError(
                f"{self.transport.name}: not a plum device of protocol version {PROTOCOL_VERSION}: "
                "it answers otherwise"
            )
        raise self._silent("RESET")

    def close(self) -> None:
        """Give the device free, with no run of ours left on it if it can be helped."""
        try:
            if self._sent or not self._open:
                self._timeout = min(self._timeout, 0.5)
                self.reset()
        except (TransportError, ProtocolError):
            pass  # the device is gone; whoever opens it next resets it again
        finally:
            self.transport.close()

    def fail(self) -> None:
        """Let the next request begin a new session."""
        self._open = False

    def settle(self) -> None:
        """Begin a session where there is none: `sessions` tells."""
        if not self._open:
            self.reset()

    # ---- sending ---------------------------------------------------------------------------------

    def _send_waiting(self) -> None:
        while self._waiting:
            ticket = self._waiting[0]
            if len(self._sent) >= MAX_WINDOW or self._used + ticket.places > self._room:
                return
            if self._sent and self._replies + ticket.reply_bytes > _MOST_REPLIES:
                return
            self._waiting.popleft()
            ticket.sequence = self._next
            self._next = (self._next + 1) & 0xFF
            if not self._sent:
                self._touch()
                self._answered_at = self._heard
            self._sent.append(ticket)
            self._used += ticket.places
            self._replies += ticket.reply_bytes
            self._send(ticket)

    def _send(self, ticket: Ticket) -> None:
        ticket.sent_at = self.transport.now()
        self.counts.sent += 1
        self.transport.send(ticket.body(self._tag))

    def _go_back(self, missing: int) -> None:
        """Send again from the given one of the unanswered requests on."""
        self._tag = (self._tag + 1) & 15
        self._touch()
        for ticket in list(self._sent)[missing:]:
            self.counts.repeated += 1
            self._send(ticket)

    # ---- receiving -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Wait for a packet, or until it is time to ask how far the device is."""
        late = self._answered_at + self._limit
        if self.transport.now() >= late:
            self.reset()
            raise DeviceTimeoutError(
                f"{self.transport.name}: the run did not end within {self._limit:g} s; it was "
                "stopped"
            )
        self._take(min(self._probe_at, late))
        if self.transport.now() >= self._probe_at:
            self._probe()
        self._send_waiting()

    def _take(self, deadline: float) -> bool:
        """Take in a packet; False where none came."""
        try:
            body = self.transport.receive(deadline)
        except DeviceTimeoutError:
            return False
        except DamagedPacketError as error:
            self._take_checksum(error.packet)
            return True
        if len(body) < 2:
            return True
        if body[1] in _REASONS and len(body) == _NOTICE_BYTES:
            self._take_notice(body)
        elif body[1] in _STATUSES:
            self._take_answer(body)
        return True

    def _take_answer(self, body: bytes) -> None:
        place = (body[0] - self._base) & 0xFF
        if place >= len(self._sent):
            return  # late
        status = _STATUSES[body[1]]
        if status != Status.OK:
            raise RefusedError(
                f"{self.transport.name}: a request was refused: {status.name} (the first of those "
                f"from {self._sent[0].op.name} to {self._sent[place].op.name})"
            )
        ticket = self._sent[place]
        wanted = 0
        if ticket.op in (Op.READ, Op.RUN):
            wanted = ticket.count * SPACE_BYTES[ticket.space]
        if len(body) - 2 != wanted:
            raise ProtocolError(
                f"{self.transport.name}: {ticket.op.name} was answered with {len(body) - 2} bytes "
                f"instead of {wanted}"
            )
        self._measure(ticket)
        if ticket.op == Op.CHECK and ticket.count:
            return  # a checksum without the words: it cannot be
        self._retire(place)
        self._take_off()
        ticket.answer = body[2:]
        self.counts.payload_received += len(ticket.answer)
        if ticket.op == Op.RUN and not self._sent and not self._waiting:
            self.counts.dry += 1

    def _take_checksum(self, packet: bytes) -> None:
        """A packet whose checksum is wrong, unless it is the answer to CHECK."""
        if len(packet) != 6 or packet[1] != Status.OK:
            return
        place = (packet[0] - self._base) & 0xFF
        if place >= len(self._sent) or self._sent[place].op != Op.CHECK:
            return
        ticket = self._sent[place]
        if checksum(packet[:2] + ticket.expected) != packet[2:]:
            # Damaged, or the memory holds something else: it is asked a few times.
            ticket.attempts += 1
            if ticket.attempts < _ATTEMPTS:
                self._retire(place + 1)
                return
        self._retire(place)
        self._take_off()
        ticket.answer = b"" if ticket.attempts < _ATTEMPTS else b"\0"

    def _take_notice(self, body: bytes) -> None:
        expected, number, tag, got, answered, failed, _ = body
        self._check_version(body)
        self._touch()
        reason = Reason(number)
        if reason == Reason.CLOSED:
            raise DeviceRestartedError(
                f"{self.transport.name}: the device was restarted: load the network again"
            )
        if failed != Status.OK:
            name = _STATUSES[failed].name if failed in _STATUSES else hex(failed)
            raise RefusedError(f"{self.transport.name}: a request was refused: {name}")
        missing = (expected - self._base) & 0xFF
        if missing > len(self._sent):
            if missing < 128:
                raise DeviceRestartedError(
                    f"{self.transport.name}: another program has opened the device"
                )
            return  # of long ago
        done = (self._first + answered - self._base) & 0xFF
        if done <= missing:
            self._retire(done)
            missing -= done
        if tag != self._tag or missing == len(self._sent):
            return
        ahead = (got - expected) & 0xFF
        if reason == Reason.GAP and ahead >= 128:
            return  # a repetition of what was taken up
        if reason == Reason.PONG and not 0 < ahead < 128:
            return  # nothing that was sent before the question is missing
        if reason != Reason.RESET:
            self._go_back(missing)

    @property
    def _base(self) -> int:
        """Number of the first unanswered request."""
        return self._sent[0].sequence if self._sent else self._next

    def _retire(self, count: int) -> None:
        """So many requests were carried out, and their answers have not come: ask for the words."""
        again = []
        for _ in range(min(count, len(self._sent))):
            ticket = self._take_off()
            if ticket.op == Op.WRITE or not ticket.count:
                ticket.answer = b""
                continue
            self.counts.asked_again += 1
            if ticket.op == Op.RUN:
                ticket.op, ticket.data = Op.READ, b""
            again.append(ticket)
        self._waiting.extendleft(reversed(again))

    def _take_off(self) -> Ticket:
        ticket = self._sent.popleft()
        self._used -= ticket.places
        self._replies -= ticket.reply_bytes
        self._answered_at = self.transport.now()
        return ticket

    def _probe(self) -> None:
        """Ask the device how far it is; give it up after a while."""
        now = self.transport.now()
        if self._unheard >= _ATTEMPTS and now - self._heard > _ATTEMPTS * self._timeout:
            raise self._silent(self._sent[0].op.name if self._sent else "PING")
        if self._unheard >= 2:
            # A device that has gone back to its first rate hears nothing at another.
            self.transport.fall_back()
        self._probe_after = min(2 * self._probe_after, self._timeout)
        self._probe_at = now + self._probe_after
        self._unheard += 1
        self.counts.probes += 1
        self.counts.sent += 1
        self.transport.send(struct.pack("<BB", self._next, Op.PING | self._tag << 4))

    def _measure(self, ticket: Ticket) -> None:
        seconds = self.transport.now() - ticket.sent_at
        if ticket.op != Op.RUN:
            self._rtt = seconds if self._rtt is None else 0.75 * self._rtt + 0.25 * seconds
        self._touch()

    def _touch(self) -> None:
        """The device was heard: a while from now it is time to ask."""
        self._heard = self.transport.now()
        self._unheard = 0
        guess = _FIRST_PROBE if self._rtt is None else max(_LEAST_PROBE, 4 * self._rtt)
        self._probe_after = min(guess, self._timeout)
        self._probe_at = self._heard + self._probe_after

    def _check_version(self, notice: bytes) -> None:
        if notice[-1] != PROTOCOL_VERSION:
            raise ProtocolError(
                f"{self.transport.name}: the device speaks protocol version {notice[-1]}; "
                f"this program speaks {PROTOCOL_VERSION}"
            )

    def _silent(self, what: str) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"{self.transport.name}: no good answer to {what} in {_ATTEMPTS} attempts of "
            f"{self._timeout:g} s: the device is not there, hangs, or has another line rate"
        )


class _Guard:
    """After an error the session is over."""

    def __init__(self, window: RequestWindow) -> None:
        self._window = window

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._window.fail()
