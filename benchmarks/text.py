"""The prose of docs/performance.md."""

HEAD = """
# Performance

Made by `python -m benchmarks.run` from the compiler's cycle model and written by
`benchmarks/report.py`; do not edit. The figures behind it are in `benchmarks/results.json` and
`benchmarks/energy.json`, any of them again with
`plum bench NET --scheme S --density D --array PRESET --group T`.

- Cycles are exact: they depend on shapes and weights, never on activations, and the simulated
  gateware counts the same (column *simulated*: of so many images, or batches, every output is equal
  to the golden machine and the reference, and every layer's cycles are as predicted, with T chosen;
  run with `--simulate`).
- T is the number of filters that share their additions: 1, or 2 for pairs; *chosen* means by the
  compiler, layer by layer. Time on the link is not counted.
- Milliseconds are for {clock}; where a build of an array was placed and routed by open tools
  (`benchmarks/boards/`), a table of its own has the milliseconds at the clock it gave. Artix-7
  clocks are of no tool: Vivado was not run.
- Weights are random (seed 0). All networks have 8-bit activations. First layers, 1x1 shortcuts,
  depthwise layers and classifiers have 8-bit weights in every scheme; only the *middle layers*
  change. Accuracy is not part of this page.
- *binary, two groups* adds once for every weight. *binary, offset* is the same function as
  2*(sum of x where w = +1) - (sum of x): half of the additions, and one more filter for the window
  sum. The second is the stronger baseline; both are always shown. The paper measured {paper}x
  against binary and {ternary}x against ternary, on a CPU.
"""

CYCLES_NOTE = """
Signed binary at density 0.35. *wide* is an array of no board (`benchmarks/run.py`), with 128 lanes
a cluster and memories for whole networks; *cluster* is one for signed-binary layers alone, which
holds none of these networks' 8-bit first layers. *Lane use*: share of all lane cycles that add an
activation for a pixel of the map. *Parts*: a network whose program does not fit the memories is
loaded part after part for every image; the time of that is the link's, and not in the milliseconds.
*x64*: 64 inputs of a dense network as the pixels of one map (`plum compile --batch 64`); cycles and
milliseconds are those of all 64.
"""

BARS_NOTE = """
LUTs and block RAMs are those of open synthesis (Yosys, `python -m benchmarks.resources`), not of a
placed design.
"""

RATIOS_NOTE = """
Cycles of each over those of signed binary at that density, whole networks with their 8-bit layers;
with T chosen, for both. The paper's figure is {paper}x against binary ({ternary}x against ternary),
measured on a CPU with repetition as well. Two filters of +-1 weights have more to share than two
signed-binary ones, so against two groups the lead is smaller with T chosen. Against the offset
trick it is larger on several clusters than on one: each of them makes window sums of its own.
*Mask kbit*: mask words that are stored, with their padding, over all clusters; splits by rows store
the masks in several.
"""

BINDS = """
Signed binary at density 0.35 on {array}, T chosen. The 8-bit layers, the same in every scheme, take
{share} of the cycles. *RxF*: parts of the rows and of the filters. Stalls are summed over the
clusters.
"""

ENERGY_NOTE = """
Layer L on one cluster, the same image for all. The device without its link is mapped to the
standard cells of a 180 nm process; its netlist runs in Verilator with the golden machine's outputs,
and every net's toggles are charged with the internal energy of its driver and C V^2 / 2
(`python -m benchmarks.energy`). The unit is all of signed binary at T = 1. These are relative
figures of one logic under several loads, not the power of an FPGA: there are no wires in them, no
gated clock, and the requantizer's multipliers are gates (*emitter*). The clock's share follows from
the cycles; a column leaves it out. Memories are not charged; *vectors read* are the reads of
activation memory.
"""

LAYER_L_NOTE = """
Convolution 3x3 'same', 16x16x16 to 16 channels, 589,824 MAC, 8-bit activations. The others were
synthesized for xc7 with their own tools and run in simulation; none was placed and routed. FINN and
da4ml are streams built for this one layer; ours runs any layer from memory.
"""
