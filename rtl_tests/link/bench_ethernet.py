"""The device behind its Ethernet port, at the pins of the MII: frames in, frames out.

Both clocks of the MII have periods of their own. What frames must look like is said in
`rtl_tests.link.frames`, packets are those of `plum_host`.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, FallingEdge, ReadOnly, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time

from plum_host.packets import Damaged, PacketParser, encode
from plum_host.protocol import IDENTITY_BYTES, Op, Reason, Space, Status
from plum_hw.config import ArrayConfig
from plum_hw.network import NetworkConfig
from rtl_tests.link import frames

CONFIG = ArrayConfig(name="bench", lanes=16, act_depth=64, code_depth=256, table_depth=128)
NETWORK = NetworkConfig()
CLOCK_HZ = 100_000_000

DEVICE_MAC = NETWORK.mac_number.to_bytes(6, "big")
DEVICE_IP = NETWORK.ip_number.to_bytes(4, "big")
HOST_MAC, HOST_IP, HOST_PORT = bytes.fromhex("02aabbccdd01"), bytes([192, 168, 1, 7]), 40123
_GAP_NIBBLES = 24
_PATIENCE_US = 1600
_RX_PERIOD_PS, _TX_PERIOD_PS = 39_996, 40_004


class Net:
    """What is at the other end of the cable: nibbles both ways, and a host that answers ARP."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        seed = int(os.environ["SEED"])
        cocotb.log.info("seed %d", seed)
        self.rng = random.Random(seed)
        self.received: deque[bytes] = deque()  # frames with a right check that are not ARP
        self.asked = 0  # ARP requests of the device
        self.gaps: list[int] = []  # nibbles between its frames
        self.answers_arp = True
        self._out: deque[tuple[int, int]] = deque()  # valid, nibble
        self._more, self._came = Event(), Event()

    async def start(self) -> None:
        dut = self.dut
        dut.rst.value = 1
        dut.mii__rx_dv.value = 0
        dut.mii__rx_er.value = 0
        dut.mii__rx_data.value = 0
        Clock(dut.clk, 10_000, unit="ps").start()
        # A host's oscillator and the PHY's differ; edges drift past those of the array's clock.
        Clock(dut.mii__rx_clk, _RX_PERIOD_PS, unit="ps").start()
        await Timer(13_331, unit="ps")
        Clock(dut.mii__tx_clk, _TX_PERIOD_PS, unit="ps").start()
        await Timer(400, unit="ns")
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(self._drive())
        cocotb.start_soon(self._watch())
        await Timer(2, unit="us")

    def send(self, frame: bytes, *, preamble: bytes = frames.PREAMBLE, gap: int = 0) -> None:
        """Queue a frame; `gap` are nibbles beyond those that must be between frames."""
        for byte in preamble + frame:
            self._out += [(1, byte & 15), (1, byte >> 4)]
        self._out += [(0, self.rng.randrange(16)) for _ in range(_GAP_NIBBLES + gap)]
        self._more.set()

    def send_udp(self, data: bytes, *, port: int = HOST_PORT, gap: int = 0) -> None:
        self.send(udp_frame(data, port), gap=gap)

    async def quiet(self) -> None:
        """All was sent, and what it is answered with has come."""
        while self._out:
            await Timer(1, unit="us")
        await Timer(100, unit="us")

    async def frame(self) -> bytes:
        """The next frame of the device that is not ARP."""
        if not self.received:
            self._came.clear()
            await with_timeout(self._came.wait(), _PATIENCE_US, "us")
        return self.received.popleft()

    async def datagram(self) -> bytes:
        """Data of the next datagram, which must be one from the link's port to the host."""
        to, sender, kind, content = frames.unframed(await self.frame())
        assert (to, sender, kind) == (HOST_MAC, DEVICE_MAC, frames.IPV4)
        packet = frames.Ip.parse(content)
        assert (packet.source, packet.target) == (DEVICE_IP, HOST_IP)
        port, to_port, data = frames.parse_udp(packet)
        assert (port, to_port) == (NETWORK.port, HOST_PORT)
        return data

    async def packets(self) -> AsyncIterator[bytes | Damaged]:
        """What the device says, for ever."""
        parser = PacketParser(CONFIG.packet_bytes)
        while True:
            for packet in parser.feed(await self.datagram()):
                yield packet

    async def _drive(self) -> None:
        dut = self.dut
        while True:
            if not self._out:
                self._more.clear()
                await self._more.wait()
            valid, nibble = self._out.popleft()
            await FallingEdge(dut.mii__rx_clk)
            dut.mii__rx_dv.value = valid
            dut.mii__rx_data.value = nibble

    async def _watch(self) -> None:
        dut = self.dut
        ended: float | None = None
        while True:
            await RisingEdge(dut.mii__tx_en)
            begun = get_sim_time("ps")
            if ended is not None:
                self.gaps.append(round((begun - ended) / _TX_PERIOD_PS))
            nibbles = []
            while int(dut.mii__tx_en.value):
                nibbles.append(int(dut.mii__tx_data.value))
                await RisingEdge(dut.mii__tx_clk)
                ended = get_sim_time("ps")
                await ReadOnly()
            self._take(nibbles)

    def _take(self, nibbles: list[int]) -> None:
        assert len(nibbles) % 2 == 0, "half a byte"
        data = bytes(a | b << 4 for a, b in zip(nibbles[::2], nibbles[1::2], strict=True))
        assert data.startswith(frames.PREAMBLE), data[:8].hex()
        frame = data[8:]
        to, _, kind, content = frames.unframed(frame)
        if kind == frames.ARP and content[7] == frames.REQUEST:
            self.asked += 1
            assert to == frames.BROADCAST
            assert content[8:18] == DEVICE_MAC + DEVICE_IP
            if self.answers_arp and content[24:28] == HOST_IP:
                reply = frames.arp(frames.REPLY, HOST_MAC, HOST_IP, DEVICE_MAC, DEVICE_IP)
                self.send(frames.framed(DEVICE_MAC, HOST_MAC, frames.ARP, reply))
        else:
            self.received.append(frame)
            self._came.set()


def udp_frame(data: bytes, port: int = HOST_PORT, to_port: int = NETWORK.port) -> bytes:
    content = frames.udp(port, to_port, data)
    packet = frames.ipv4(frames.UDP, HOST_IP, DEVICE_IP, content)
    return frames.framed(DEVICE_MAC, HOST_MAC, frames.IPV4, packet)


def request(op: int, sequence: int, rest: bytes = b"") -> bytes:
    return encode(bytes([sequence, op]) + rest)


def read_identity(sequence: int) -> bytes:
    return request(Op.READ, sequence, bytes([Space.IDENTITY, 0, 0, 0, IDENTITY_BYTES // 8, 0]))


def write_code(sequence: int, words: bytes, address: int = 0) -> bytes:
    place = address.to_bytes(2, "little") + (len(words) // 4).to_bytes(2, "little")
    return request(Op.WRITE, sequence, bytes([Space.CODE, 0]) + place + words)


def read_code(sequence: int, count: int) -> bytes:
    return request(Op.READ, sequence, bytes([Space.CODE, 0, 0, 0]) + count.to_bytes(2, "little"))


RESET = request(Op.RESET, 9, b"\x34\x12")


async def open_session(net: Net) -> AsyncIterator[bytes | Damaged]:
    """The device's packets from the answer to a RESET on."""
    net.send_udp(RESET)
    answers = net.packets()
    first = await anext(answers)
    assert isinstance(first, bytes)
    assert first[1] == Reason.RESET
    return answers


@cocotb.test()
async def arp_and_ping_are_answered(dut) -> None:
    net = Net(dut)
    await net.start()
    for _ in range(3):
        asks = frames.arp(frames.REQUEST, HOST_MAC, HOST_IP, bytes(6), DEVICE_IP)
        net.send(frames.framed(frames.BROADCAST, HOST_MAC, frames.ARP, asks))
        to, sender, kind, content = frames.unframed(await net.frame())
        assert (to, sender, kind) == (HOST_MAC, DEVICE_MAC, frames.ARP)
        says = frames.arp(frames.REPLY, DEVICE_MAC, DEVICE_IP, HOST_MAC, HOST_IP)
        assert content[: len(says)] == says
    # Others are asked too.
    other = frames.arp(frames.REQUEST, HOST_MAC, HOST_IP, bytes(6), bytes([192, 168, 1, 51]))
    net.send(frames.framed(frames.BROADCAST, HOST_MAC, frames.ARP, other))
    data = net.rng.randbytes(56)
    packet = frames.ipv4(frames.ICMP, HOST_IP, DEVICE_IP, frames.echo(8, data))
    net.send(frames.framed(DEVICE_MAC, HOST_MAC, frames.IPV4, packet))
    answer = frames.Ip.parse(frames.unframed(await net.frame())[3])
    assert (answer.protocol, answer.target) == (frames.ICMP, HOST_IP)
    assert answer.content == frames.echo(0, data)
    assert net.asked == 1  # where the answer to the ping goes
    await net.quiet()
    assert not net.received


@cocotb.test()
async def requests_are_answered(dut) -> None:
    """Words written and read, in datagrams of one packet and of several, with and without gaps."""
    net = Net(dut)
    await net.start()
    answers = await open_session(net)
    net.send_udp(read_identity(10))
    identity = await anext(answers)
    assert isinstance(identity, bytes)
    assert identity[:6] == bytes([10, Status.OK]) + b"PLUM"
    assert len(identity) == 2 + IDENTITY_BYTES
    sequence = 11
    for gap in (0, 300):
        words = net.rng.randbytes(4 * CONFIG.code_depth)
        if os.environ.get("FAULT"):
            net.send_udp(write_code(sequence, bytes(len(words))))
        else:
            net.send_udp(write_code(sequence, words), gap=net.rng.randrange(gap + 1))
        # Two packets in a datagram.
        few = net.rng.randbytes(16)
        again = write_code(sequence + 1, few) + read_code(sequence + 2, CONFIG.code_depth)
        net.send_udp(again, gap=net.rng.randrange(gap + 1))
        assert await anext(answers) == bytes([sequence, Status.OK])
        assert await anext(answers) == bytes([sequence + 1, Status.OK])
        read = await anext(answers)
        assert read == bytes([sequence + 2, Status.OK]) + few + words[16:]
        sequence += 3
    assert min(net.gaps) >= _GAP_NIBBLES


@cocotb.test()
async def damaged_frames_change_nothing(dut) -> None:
    """Flipped bits, cut frames, other ports and hosts: the next good request is answered."""
    net = Net(dut)
    await net.start()
    answers = await open_session(net)
    words = net.rng.randbytes(4 * CONFIG.code_depth)
    net.send_udp(write_code(10, words))
    assert await anext(answers) == bytes([10, Status.OK])
    for round_ in range(9):
        frame = bytearray(udp_frame(write_code(11, net.rng.randbytes(100))))
        place = 42 + net.rng.randrange(100) if round_ % 2 else net.rng.randrange(42)
        match net.rng.choice(("flip", "cut", "errors")):
            case "flip":
                frame[place] ^= 1 << net.rng.randrange(8)
                frame[-1] ^= 1  # not even the check is right by chance
                net.send(bytes(frame))
            case "cut":
                net.send(bytes(frame[:place]))
            case "errors":
                net.send(
                    net.rng.randbytes(net.rng.randrange(1, 90)), preamble=b"\x55" * 3 + b"\xd5"
                )
    # To others: neither taken up nor answered.
    net.send(udp_frame(write_code(11, bytes(64)), to_port=NETWORK.port + 1))
    content = frames.ipv4(
        frames.UDP, HOST_IP, bytes([10, 0, 0, 1]), frames.udp(1, NETWORK.port, RESET)
    )
    net.send(frames.framed(DEVICE_MAC, HOST_MAC, frames.IPV4, content))
    await net.quiet()
    # A 0x00 ends what a damaged frame has left behind.
    net.send_udp(b"\0" + read_code(11, CONFIG.code_depth))
    async for answer in answers:
        assert isinstance(answer, bytes)
        if answer[1] in (Reason.DAMAGED, Reason.GAP):
            continue
        assert answer == bytes([11, Status.OK]) + words
        break


@cocotb.test()
async def keeps_up_with_the_line(dut) -> None:
    """Full frames without a gap between them, each taken up: none waits, none is lost."""
    net = Net(dut)
    await net.start()
    answers = await open_session(net)
    words = 4 * (CONFIG.packet_bytes // 4 - 2)
    data = net.rng.randbytes(min(words, 4 * CONFIG.code_depth))
    for number in range(5):
        net.send_udp(write_code(10 + number, data))
    for number in range(5):
        assert await anext(answers) == bytes([10 + number, Status.OK])


@cocotb.test()
async def a_host_that_is_gone_blocks_nobody(dut) -> None:
    """Without an answer to ARP the device goes on to take requests, and answers when it can."""
    net = Net(dut)
    await net.start()
    net.answers_arp = False
    net.send_udp(RESET)
    net.send_udp(write_code(10, bytes(64)))
    await net.quiet()
    assert net.asked == 1
    assert not net.received
    reply = frames.arp(frames.REPLY, HOST_MAC, HOST_IP, DEVICE_MAC, DEVICE_IP)
    net.send(frames.framed(DEVICE_MAC, HOST_MAC, frames.ARP, reply))
    answers = net.packets()
    said = [await anext(answers), await anext(answers)]
    assert [packet[1] for packet in said if isinstance(packet, bytes)] == [Reason.RESET, Status.OK]
