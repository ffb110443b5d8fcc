"""LUTs taken into ECP5 carry chains: equal truth tables, and a netlist that is proved equal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from plum_hw.flow.carry import absorb_luts, fold
from tests.yosys import yosys

#: Operands as the gateware has them: selected, doubled or cleared, masked, of constants.
ADDERS = """
module top(input clear, input double, input [1:0] by, input [3:0] x, input [6:0] wide,
           input [6:0] other, input [6:0] old, output [6:0] acc, output [6:0] picked,
           output [6:0] down, output less, output [3:0] shared);
    assign acc = x + (clear ? 7'd0 : double ? old << 1 : old);
    assign picked = wide + (by[0] ? other : old);
    assign down = (by[1] ? wide : old) - 7'd1;
    assign less = (wide & {7{by[0]}}) < other;
    assign shared = picked[3:0] ^ {4{by[0]}};
endmodule
"""


def half(init: int, pins: list[int], carry: int) -> tuple[int, int]:
    """Sum and carry out of half a CCU2C, from the cell library's equations."""
    p = init >> sum(pin << at for at, pin in enumerate(pins)) & 1
    g = (init & 0xF) >> (pins[0] + 2 * pins[1]) & 1
    return p ^ carry, (1 - p) & g | p & carry


@pytest.mark.parametrize("seed", range(3))
def test_folded_half_does_the_same(seed: int) -> None:
    rng = random.Random(seed)
    folded = 0
    for _ in range(400):
        # Two inputs of an adder or anything, one or two of them LUTs.
        init = rng.choice([0x96AA, 0x55CC, rng.getrandbits(16)])
        count = rng.randint(1, 4)
        pins: list = [rng.choice([*range(count), "0", "1"]) for _ in range(4)]
        for at in rng.sample(range(4), rng.randint(1, 2)):
            inner = tuple(rng.choice([*range(count), "1"]) for _ in range(4))
            pins[at] = (rng.choice([0xCACA, 0x8888, rng.getrandbits(16)]), inner)
        # Signals have the numbers of their first appearance.
        names: dict[int, int] = {}
        text = [p if not isinstance(p, tuple) else (p[0], *p[1]) for p in pins]
        for pin in text:
            for signal in pin[1:] if isinstance(pin, tuple) else [pin]:
                if isinstance(signal, int):
                    names.setdefault(signal, len(names))
        seen = tuple(
            (pin[0], tuple(names.get(p, p) for p in pin[1])) if isinstance(pin, tuple)
            else names.get(pin, pin)
            for pin in pins
        )  # fmt: skip
        result = fold(init, seen)
        if result is None:
            continue
        folded += 1
        made, order = result
        for bits in range(1 << len(names)):
            signals = [bits >> at & 1 for at in range(len(names))]

            def level(pin, signals=signals):
                if isinstance(pin, tuple):
                    return pin[0] >> sum(level(p) << at for at, p in enumerate(pin[1])) & 1
                return int(pin) if isinstance(pin, str) else signals[pin]

            before = [level(pin) for pin in seen]
            after = [1 if at is None else signals[at] for at in order]
            for carry in (0, 1):
                assert half(made, after, carry) == half(init, before, carry), (init, seen, result)
    assert folded > 20, f"seed {seed}"


@pytest.fixture(scope="module")
def netlist(tmp_path_factory) -> tuple[Path, dict]:
    """A folder with the mapped adders, `before.json`; and the text of it."""
    folder = tmp_path_factory.mktemp("carry")
    (folder / "adders.v").write_text(ADDERS)
    yosys(folder, "read_verilog adders.v; synth_ecp5 -top top -json before.json")
    return folder, json.loads((folder / "before.json").read_text())


def proof(folder: Path, before: dict, after: dict) -> str:
    """What Yosys says of both netlists, made of the cells of its own library."""
    tops = {"before": before["modules"]["top"], "after": after["modules"]["top"]}
    (folder / "both.json").write_text(json.dumps({"modules": tops}))
    return yosys(
        folder,
        "read_json both.json; read_verilog -D NO_INCLUDES +/ecp5/cells_sim.v; "
        "miter -equiv before after miter; hierarchy -top miter; proc; flatten; opt -full; "
        "sat -verify -prove trigger 0 miter",
    )


def test_netlist_is_proved_equal(netlist) -> None:
    folder, before = netlist
    after = json.loads(json.dumps(before))
    top = after["modules"]["top"]
    luts = sum(cell["type"] == "LUT4" for cell in top["cells"].values())
    taken = absorb_luts(top)
    assert taken >= 20
    assert sum(cell["type"] == "LUT4" for cell in top["cells"].values()) == luts - taken
    said = proof(folder, before, after)
    assert "SUCCESS!" in said, said[-2000:]


def test_proof_finds_a_wrong_bit(netlist) -> None:
    folder, before = netlist
    after = json.loads(json.dumps(before))
    absorb_luts(after["modules"]["top"])
    wrong = next(c for c in after["modules"]["top"]["cells"].values() if c["type"] == "CCU2C")
    init = int(wrong["parameters"]["INIT0"], 2) ^ 0x8000
    wrong["parameters"]["INIT0"] = f"{init:016b}"
    said = proof(folder, before, after)
    assert "SUCCESS!" not in said
    assert "proof did fail" in said, said[-2000:]
