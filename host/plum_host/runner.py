"""Images through a device: as many on their way as it has places for their results."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.client import DeviceClient
from plum_host.errors import PlumHostError, VerifyError
from plum_host.protocol import (
    BROADCAST,
    LAYER_COUNTERS,
    SPACE_BYTES,
    Counter,
    Space,
)
from plum_host.steps import Read, Turn, turns
from plum_host.tickets import Ticket

#: Word of code memory where every program begins.
_PROGRAM = 0
#: Most images on their way. More would cost a bad line more than they would help a good one.
_MOST_FLIGHTS = 8

Output = npt.NDArray[Any]


@dataclass(frozen=True)
class Counted:
    """Counters after runs of a part."""

    totals: list[int]  # by Counter
    layers: list[int]  # cycles of those layers that are counted apart

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            [a + b for a, b in zip(self.totals, other.totals, strict=True)],
            [a + b for a, b in zip(self.layers, other.layers, strict=True)],
        )


@dataclass
class Flight:
    """An image on its way: what is left of its turns, its runs, and what its last turn reads."""

    turns: Generator[Turn, Sequence[bytes], Output]
    runs: list[Ticket] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """All has come."""
        return all(ticket.done for answer in self.answers for ticket in answer.tickets) and all(
            run.done for run in self.runs
        )


@dataclass(frozen=True)
class Answer:
    """Words that come with the answers to some requests, less the first bytes."""

    tickets: tuple[Ticket, ...]
    skip: int = 0


class Runner:
    """Carries out the turns of images on one device, in the order in which they are begun.

    What a run leaves in the result memory stands in a place of its own, the cycles before the
    results, until it has come: so a lost answer can be read again while the next image runs.

    Parameters
    ----------
    client : of the device
    bundle : the network; made for this device's array
    """

    def __init__(self, client: DeviceClient, bundle: Bundle) -> None:
        self.client = client
        self.bundle = bundle
        self._part: int | None = None  # that the device's memories hold
        self._verified: set[int] = set()
        self._session = client.sessions
        config = bundle.manifest["config"]
        words = [words for step in bundle.steps for words, _ in step.results]
        self._place_words = 1 + max(words, default=0)
        places = config["result_depth"] // self._place_words
        if not places:
            raise PlumHostError(
                f"the network has {self._place_words - 1} results; with the cycles of a run before "
                f"them they do not fit the {config['result_depth']} words of the result memory"
            )
        self._users: list[list[Ticket]] = [[] for _ in range(places)]
        self._next_place = 0
        self.most_flights = max(1, min(places // len(bundle.steps), _MOST_FLIGHTS))
        #: Counters of the last image whose counters were asked for, by part.
        self.counted: dict[int, Counted] = {}

    # ---- images ----------------------------------------------------------------------------------

    def begin(self, image: npt.ArrayLike, *, count: bool = False) -> Flight:
        """Send an image on its way, uint8 (C, H, W); `count`: read the counters after its runs."""
        self.client.settle()
        if self._session != self.client.sessions:
            # Something went wrong since: what the device holds is not known.
            self._session, self._part = self.client.sessions, None
        if count:
            self.counted.clear()
        flight = Flight(turns(self.bundle, image))
        turn = next(flight.turns)
        for _ in self.bundle.steps[1:]:
            self._carry_out(flight, turn, count)
            turn = flight.turns.send(self._words(flight.answers))
        self._carry_out(flight, turn, count)
        return flight

    def finish(self, flight: Flight) -> tuple[Output, int]:
        """Output and cycles of an image, once they have come."""
        cycles = sum(int.from_bytes(self.client.wait(run)[:4], "little") for run in flight.runs)
        try:
            flight.turns.send(self._words(flight.answers))
        except StopIteration as end:
            return end.value, cycles
        raise AssertionError("turns after the last")

    def repeat(self, part: int, runs: int) -> Ticket:
        """Run a part that often, on whatever its input holds: cycles do not depend on data."""
        self._load(part)
        return self._run(part, 0, runs=runs)

    def _carry_out(self, flight: Flight, turn: Turn, count: bool) -> None:
        client = self.client
        for write in turn.writes:
            client.write(Space.ACTIVATION, write.cluster, write.address, write.data)
        self._load(turn.part)
        at = self._free_place()
        fits = 4 * self._place_words + 2 <= client.packet_bytes
        results = sum(read.words for read in turn.reads if read.space == Space.RESULT)
        run = self._run(turn.part, at, words=results if fits else 0)
        flight.runs.append(run)
        flight.answers = []
        barrier = [run] if count else []
        for read in turn.reads:
            if read.space == Space.RESULT and fits:
                flight.answers.append(Answer((run,), 4 * (1 + read.address)))
                continue
            tickets = self._read(read, at)
            flight.answers.append(Answer(tickets))
            if read.space != Space.RESULT:
                # What comes next overwrites them.
                barrier += tickets
            self._users[self._next_place - 1] += tickets
        if count:
            counted = self._count(turn.part)
            before = self.counted.get(turn.part)
            self.counted[turn.part] = counted if before is None else before + counted
        for ticket in barrier:
            client.wait(ticket)

    def _run(self, part: int, at: int, *, words: int = 0, runs: int = 1) -> Ticket:
        run = self.client.run(
            _PROGRAM,
            self.bundle.parts[part],
            space=Space.RESULT,
            address=at,
            count=1 + words,
            results_at=at + 1,
            runs=runs,
        )
        self._users[at // self._place_words] = [run]
        return run

    def _free_place(self) -> int:
        """A place of the result memory whose content has come."""
        place = self._next_place % len(self._users)
        self._next_place = place + 1
        for ticket in self._users[place]:
            self.client.wait(ticket)
        return place * self._place_words

    def _read(self, read: Read, at: int) -> tuple[Ticket, ...]:
        address = read.address + (at + 1 if read.space == Space.RESULT else 0)
        return tuple(self.client.read(read.space, read.cluster, address, read.words))

    def _words(self, answers: Sequence[Answer]) -> list[bytes]:
        return [
            b"".join(self.client.wait(ticket) for ticket in answer.tickets)[answer.skip :]
            for answer in answers
        ]

    # ---- memories --------------------------------------------------------------------------------

    def _blocks(self, part: int) -> list[tuple[Space, int, bytes]]:
        """Space, cluster and content of the memories of a part."""
        return [
            (space, cluster, np.asarray(words, "<u4").tobytes())
            for space, memory in ((Space.CODE, self.bundle.code), (Space.TABLE, self.bundle.table))
            for cluster, words in enumerate(memory[part])
        ]

    def _load(self, part: int) -> None:
        """Write a part's code and tables; the first time also compare them."""
        if part == self._part:
            return
        self._part = None
        blocks = self._blocks(part)
        for space in (Space.CODE, Space.TABLE):
            own = [data for number, _, data in blocks if number == space]
            if len(own) > 1 and all(data == own[0] for data in own):
                self.client.write(space, BROADCAST, 0, own[0])
                continue
            for cluster, data in enumerate(own):
                self.client.write(space, cluster, 0, data)
        if part not in self._verified:
            self._compare(blocks)
            self._verified.add(part)
        self._part = part

    def load(self) -> None:
        """Write the first part and compare it."""
        self._part = None
        self._verified.clear()
        self._load(0)
        self._session = self.client.sessions

    def verify(self) -> int:
        """Compare what was loaded with the device's memories; the number of words compared."""
        self.client.settle()
        if self._part is None or self._session != self.client.sessions:
            raise PlumHostError("the device holds no part of the network: load it first")
        blocks = self._blocks(self._part)
        self._compare(blocks)
        return sum(len(data) // SPACE_BYTES[space] for space, _, data in blocks)

    def _compare(self, blocks: Sequence[tuple[Space, int, bytes]]) -> None:
        """Have the device sum up its memories; a VerifyError names the first wrong word."""
        checks = [
            (block, ticket)
            for block in blocks
            for ticket in self.client.check(block[0], block[1], 0, block[2])
        ]
        for (space, cluster, _), ticket in checks:
            if self.client.wait(ticket) == b"":
                continue
            held = self.client.join(self.client.read(space, cluster, ticket.address, ticket.count))
            wrong = np.flatnonzero(
                np.frombuffer(held, "<u4") != np.frombuffer(ticket.expected, "<u4")
            )
            if len(wrong):
                place = int(wrong[0])
                word = held[4 * place : 4 * place + 4][::-1].hex()
                right = ticket.expected[4 * place : 4 * place + 4][::-1].hex()
                raise VerifyError(
                    f"{self.client.transport.name}: {space.name} memory of cluster {cluster} holds "
                    f"0x{word} in word {ticket.address + place}; 0x{right} was written"
                )

    def _count(self, part: int) -> Counted:
        apart = min(self.bundle.parts[part], self.bundle.manifest["config"]["layer_counters"])
        return Counted(
            self._counters(0, len(Counter)),
            self._counters(LAYER_COUNTERS, apart),
        )

    def _counters(self, address: int, count: int) -> list[int]:
        data = self.client.join(self.client.read(Space.COUNTER, 0, address, count))
        words: list[int] = np.frombuffer(data, "<u4").tolist()
        return words
