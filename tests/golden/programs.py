"""Programs made by hand or drawn from a seed, packed into the memories of all clusters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.layouts import (
    DrainOp,
    Select,
    Space,
    Start,
    layer_layout,
    requant_layout,
    scatter_layout,
    segment_layout,
)

#: One half of activation memory is read, the other written.
HALF = 256
#: Vectors from one output row to the next.
PITCH = 40
SMALL = ArrayConfig(
    name="small",
    lanes=16,
    act_depth=2 * HALF,
    code_depth=4096,
    table_depth=2048,
    result_depth=64,
    layer_counters=16,
)


def segment(**fields: int) -> dict[str, int]:
    """Fields of a segment descriptor; those that are not given are 0, words 1."""
    layout = segment_layout(SMALL)
    return {item.name: 0 for item in layout.fields} | {"words": 1} | fields


def entry(**fields: int) -> dict[str, int]:
    """Fields of a scatter entry; those that are not given are 0, count 8."""
    layout = scatter_layout(SMALL)
    return {item.name: 0 for item in layout.fields} | {"count": 8} | fields


def constants(**fields: int) -> dict[str, int]:
    """Constants of a filter; those that are not given are 0, scale 2**12."""
    layout = requant_layout(SMALL)
    return {item.name: 0 for item in layout.fields} | {"scale": 1 << 12} | fields


@dataclass
class Work:
    """A layer of one cluster.

    *Members*: ``fields`` of the descriptor (others follow or are 0); ``windows`` and ``segments``,
    descriptors; ``masks``, words of the window pass and of each pass one after the other;
    ``filters``, constants; ``lists``, entries of each vector.
    """

    fields: dict[str, int] = field(default_factory=dict)
    windows: list[dict[str, int]] = field(default_factory=list)
    segments: list[dict[str, int]] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    filters: list[dict[str, int]] = field(default_factory=list)
    lists: list[list[dict[str, int]]] = field(default_factory=list)


@dataclass
class Program:
    """Memories of all clusters: ``code``, ``table``, lists of words."""

    config: ArrayConfig
    layers: int
    code: list[list[int]] = field(default_factory=list)
    table: list[list[int]] = field(default_factory=list)

    def machine(self, activation: NDArray[np.uint8]) -> Machine:
        """A machine with the program and activations [clusters, vectors, lanes]."""
        machine = Machine(self.config)
        for cluster in range(self.config.clusters):
            machine.write(Space.CODE, 0, np.array(self.code[cluster], np.uint32), cluster)
            machine.write(Space.TABLE, 0, np.array(self.table[cluster], np.uint32), cluster)
        machine.activation[:] = activation
        return machine


def pack(config: ArrayConfig, layers: list[list[Work]]) -> Program:
    """Pack the layers, each a list of what the clusters have to do."""
    program = Program(config, len(layers))
    layout = layer_layout(config)
    for cluster in range(config.clusters):
        code, table = [0] * (len(layers) * layout.words), list[int]()
        for index, works in enumerate(layers):
            work = works[cluster]
            fields = {item.name: 0 for item in layout.fields}
            fields |= {
                "vectors": max(1, len(work.lists)),
                "segments": max(1, len(work.segments)),
                "window_segments": len(work.windows),
                "segment_ptr": len(code),
                "weight_ptr": len(code) + len(work.windows) + len(work.segments),
                "table_ptr": len(table),
                "out_bits": 8,
                **work.fields,
            }
            for item in (*work.windows, *work.segments):
                code += segment_layout(config).pack(**item)
            code += work.masks
            for item in work.filters:
                table += requant_layout(config).pack(**item)
            fields["scatter_ptr"] = len(table)
            for entries in work.lists:
                for number, item in enumerate(entries):
                    last = number == len(entries) - 1
                    table += scatter_layout(config).pack(**{**item, "last": last})
            code[index * layout.words : (index + 1) * layout.words] = layout.pack(**fields)
        program.code.append(code)
        program.table.append(table)
    return program


# ---- drawn programs ------------------------------------------------------------------------------


def draw_config(rng: np.random.Generator) -> ArrayConfig:
    """A small array of one to five clusters."""
    lanes = int(rng.choice([8, 16, 32]))
    requant_lanes = int(rng.choice([8, 8, 4, 2, 1]))
    return replace(
        SMALL,
        clusters=int(rng.integers(1, 6)),
        write_buses=int(rng.choice([b for b in (1, 2, 4) if b <= lanes // 8])),
        lanes=lanes,
        mask_bits=int(rng.choice([8, 16, 24, 32])),
        acc_bits=int(rng.integers(10, 21)),
        sum_bits=int(rng.integers(16, 26)),
        act_bits=int(rng.integers(4, 9)),
        reach=int(rng.integers(1, 8)),
        requant_lanes=requant_lanes,
        drain_lanes=1 if requant_lanes == 1 and rng.random() < 0.7 else 8,
        block_sums=int(rng.integers(2)),
    )


class _Draw:
    """Draws one layer of one cluster.

    shape : what all clusters have in common: ``read`` and ``write``, first vectors of the halves;
    ``vectors``
    """

    def __init__(
        self, rng: np.random.Generator, config: ArrayConfig, cluster: int, shape: dict[str, int]
    ) -> None:
        self.rng, self.config, self.cluster = rng, config, cluster
        self.work = Work()
        self.shape = shape
        self.kind = str(rng.choice(["plain", "plain", "pair", "pair", "step", "shared"]))
        self.reduce = bool(shape["reduce"])
        if self.reduce and self.kind == "step":
            self.kind = "plain"
        self.largest = bool(rng.random() < 0.2)  # MAX, which is for single activations
        self.window = bool(rng.random() < 0.4)
        self.residual = bool(rng.random() < 0.5)
        self.shared = self.kind == "shared" or (self.kind == "step" and self.flag())
        if self.shared and self.residual:
            self.window = False  # its pass would begin with the same words
        self.passes = int(rng.integers(1, 4))
        # Highest dest of a filter, which entries add to theirs.
        self.farthest = int(rng.integers(config.clusters)) if self.flag(0.3) else 0

    def flag(self, chance: float = 0.5) -> bool:
        """True with a chance."""
        return bool(self.rng.random() < chance)

    def mask(self) -> int:
        """One mask word, of any density."""
        if self.largest:
            return int(self.rng.integers(2)) << int(self.rng.integers(self.config.mask_bits))
        bits = self.rng.random(self.config.mask_bits) < self.rng.choice([0.0, 0.1, 0.4, 0.9])
        return int(sum(1 << int(i) for i in np.flatnonzero(bits)))

    def chain(self, bank: int, *, first: bool, last: bool, keep: bool) -> list[dict[str, int]]:
        """Segments up to one drain. ``keep``: they may go on with what the lanes hold."""
        rng = self.rng
        count = 1 if self.largest else int(rng.integers(1, 3))
        found = []
        for index in range(count):
            starts = list(Start) if (keep or index) and not self.largest else [Start.CLEAR]
            item = segment(
                offset=int(rng.integers(0, 60)),
                words=1 if self.largest else int(rng.integers(1, 3)),
                start=int(rng.choice(starts)),
                bank=bank,
            )
            if index == count - 1:
                ops = [DrainOp.MAX] if self.largest else [DrainOp.ADD, DrainOp.NIBBLE]
                shift = int(rng.integers(-self.config.reach, self.config.reach + 1))
                item |= {"drain": 1, "shift": shift, "emit": int(last)}
                item |= {"op": DrainOp.SET if first else int(rng.choice(ops))}
                item |= {"negate": int(self.flag() and not self.largest)}
            found.append(item)
        return found

    def sums(self, bank: int, chains: int, emit: bool = True) -> list[dict[str, int]]:
        """Segments that add up the sums of a bank."""
        parts = [
            self.chain(bank, first=i == 0, last=emit and i == chains - 1, keep=i > 0)
            for i in range(chains)
        ]
        return [item for part in parts for item in part]

    def read_residual(self, bank: int) -> list[dict[str, int]]:
        """The segment of a residual, if there is one."""
        fields = {"drain": 1, "op": DrainOp.SET, "residual": 1, "bank": bank}
        return [segment(**fields)] if self.residual else []

    def pass_segments(self) -> list[dict[str, int]]:
        """Segments of all passes."""
        chains = int(self.rng.integers(1, 4))
        if self.kind != "pair":
            last = self.chain(
                0, first=chains == 1, last=True, keep=chains > 1 and not self.residual
            )
            before = self.sums(0, chains - 1, emit=False)
            return [*before, *self.read_residual(0), *last]
        late = self.window or self.flag()  # the second residual, after the first emission
        start = Start.CLEAR if self.largest else Start.KEEP
        again = segment(start=start, drain=1, op=DrainOp.SET, bank=1)
        return [
            *self.read_residual(0),
            *([] if late else self.read_residual(1)),
            *self.sums(0, chains),
            again,
            *(self.read_residual(1) if late else []),
            *[
                {**item, "op": item["op"] or (DrainOp.MAX if self.largest else DrainOp.ADD)}
                for item in self.sums(1, 1 + self.flag())
            ],
        ]

    def entries(self, vector: int) -> list[dict[str, int]]:
        """The scatter list of a vector."""
        rng, config = self.rng, self.config
        found: list[dict[str, int]] = []
        for target in rng.permutation(config.groups).tolist():
            select = int(rng.choice([Select.STRAIGHT, Select.EVEN, Select.ODD]))
            held = any(item["select"] == Select.HOLD for item in found)
            again = select != Select.STRAIGHT and (not held or self.flag())
            for kind in (Select.HOLD, select) if again else (select,):
                grouped = int(config.clusters > 1 and self.flag(0.3))
                found.append(
                    entry(
                        offset=vector * PITCH,
                        source=int(rng.integers(config.groups)),
                        target=target,
                        select=kind,
                        count=int(rng.integers(0, 9)),
                        dest=int(rng.integers(2 if grouped else config.clusters - self.farthest)),
                        grouped=grouped,
                    )
                )
        return found

    def draw(self) -> Work:
        """The layer."""
        rng, config, work, shape = self.rng, self.config, self.work, self.shape
        filters = self.passes * (1 + (self.kind == "pair"))
        odd = self.kind == "pair" and self.flag()
        if self.window:
            chains = int(rng.integers(1, 3))
            work.windows = self.sums(0, chains, emit=False)
        work.segments = self.pass_segments()
        # Every cluster has channels of its own, so that no two write the same.
        channels = (8 * self.cluster + rng.permutation(8)[:filters]).tolist()
        if self.kind == "step":
            channels = list(range(8 * self.cluster, 8 * self.cluster + filters))
        in_place = self.flag() and self.kind != "shared"
        home = shape["write"] if in_place else shape["read"]
        work.masks = [self.mask() for item in work.windows for _ in range(item["words"])]
        for number in range(1 if self.shared else self.passes):
            for item in work.segments:
                if item["residual"]:
                    which = 2 * number + item["bank"] if self.kind == "pair" else number
                    work.masks.append(0 if self.kind == "step" else channels[which])
                else:
                    work.masks += [self.mask() for _ in range(item["words"])]
        work.filters = [
            constants(
                scale=int(rng.integers(-(1 << 12), 1 << 12)),
                window=int(rng.integers(-(1 << 11), 1 << 11)),
                residual=int(rng.integers(-(1 << 15), 1 << 15)),
                bias=int(rng.integers(-(1 << 22), 1 << 23)),
                channel=channel,
                dest=int(rng.integers(self.farthest + 1)),
            )
            for channel in channels
        ]
        vectors = 1 if self.reduce else shape["vectors"]
        work.lists = [self.entries(vector) for vector in range(vectors)]
        wide = self.reduce and bool(shape["wide"])
        if self.reduce:
            only = self.entries(0)[0] | {"select": Select.STRAIGHT, "count": 1}
            work.lists = [] if wide else [[only]]
        base = channels[0] if self.kind == "step" else 0
        work.fields = {
            "vectors": vectors,
            "passes": self.passes + self.window,
            "in_base": shape["read"] + int(rng.integers(0, 8)),
            "in_step": int(rng.integers(0, 10)),
            "filter_step": self.kind == "step",
            "out_base": 0 if wide else shape["write"],
            "res_base": home + base,
            "res_step": PITCH,
            "shift": int(rng.integers(0, 2)),
            "out_bits": config.act_bits,
            "residual": self.residual,
            "reduce": self.reduce,
            "wide": wide,
            "shared_masks": self.shared,
            "pair": self.kind == "pair",
            "odd": odd,
            "group": int(rng.integers(0, 2)) if config.clusters > 1 else 0,
            "left_edge": int(rng.integers(0, 1 << config.groups)),
        }
        return work


def draw_program(rng: np.random.Generator, config: ArrayConfig, layers: int = 2) -> Program:
    """A program whose layers read what the layers before have written, among noise."""
    drawn = []
    for index in range(layers):
        reduce = bool(rng.random() < 0.2)
        shape = {
            "read": HALF * (index % 2),
            "write": HALF * (1 - index % 2),
            "vectors": int(rng.integers(1, 6)),
            "reduce": reduce,
            "wide": bool(reduce and rng.random() < 0.5),
        }
        works = [_Draw(rng, config, cluster, shape).draw() for cluster in range(config.clusters)]
        for cluster in range(1, config.clusters):
            if rng.random() < 0.2:
                works[cluster] = Work(fields=dict[str, Any](group=1, weight_ptr=7, segments=3))
        drawn.append(works)
    return pack(config, drawn)


def draw_activation(rng: np.random.Generator, config: ArrayConfig) -> NDArray[np.uint8]:
    """Noise for the activation memories."""
    shape = (config.clusters, config.act_depth, config.lanes)
    return rng.integers(0, 1 << config.act_bits, shape, dtype=np.uint8)
