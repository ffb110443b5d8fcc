"""The prose of docs/performance.md."""

HEAD = """
# Performance

Made by `python -m benchmarks.run` from the compiler's cycle model and written by
`benchmarks/report.py`; do not edit. The figures behind it are in `benchmarks/results.json`, any of
them again with `plum bench NET --scheme S --density D --array PRESET`.

- Cycles are exact: they depend on shapes and weights, never on activations, and the simulated
  gateware counts the same (column *simulated*: every output of three images equal to the golden
  machine and the reference, every layer's cycles as predicted; run with `--simulate`).
- One cluster of 64 lanes and group size T = 1: what the array can do today. Time on the link is
  not counted.
- Milliseconds are for {clock}.
- Weights are random (seed 0). All networks have 8-bit activations. First layers, 1x1 shortcuts,
  depthwise layers and classifiers have 8-bit weights in every scheme; only the *middle layers*
  change. Accuracy is not part of this page.
- *binary, two groups* adds once for every weight. *binary, offset* is the same function as
  2*(sum of x where w = +1) - (sum of x): half of the additions, and one more filter for the window
  sum. The second is the stronger baseline; both are always shown. The paper measured {paper}x
  against binary and {ternary}x against ternary, on a CPU.
"""

CYCLES_NOTE = """
*Mask kbit*: mask words that are stored, with their padding. *Lane use*: share of all lane cycles
that add an activation for a pixel of the map.
"""

RATIOS_NOTE = """
Cycles of each over those of signed binary at that density, whole networks with their 8-bit layers.
The paper's figure is {paper}x against binary ({ternary}x against ternary), measured on a CPU with
repetition as well; these are for T = 1, sparsity alone. The densities that training reaches decide:
at 0.25 the lead over the offset trick is above the paper's figure in all residual networks, at 0.45
below it. Against ternary of the same density the lanes do the same work at T = 1, so all that is
gained is drains, and about half of the middle layers' weight memory. In DS-CNN the depthwise
layers, the same in every scheme, take most of the cycles.
"""

BINDS = """
Why not more: a signed-binary weight takes as many beats as its density, a binary one 1 and a
binary-offset one 0.5, so the lanes alone would give 2.86 and 1.43. The window sum adds to the
latter: it is one more filter of all ones for every vector, 1/8 more beats with 16 filters and 1/32
with 64 (a cheaper window sum would take that much off our lead). What is left goes to the 8-bit
layers and to two bottlenecks:

- The first layer has few channels and 8-bit weights. Sums of a kernel column pass the 16-bit lanes,
  so it is drained twelve times a filter (three columns, two signs, two nibbles). That takes 96
  cycles, more than its additions.
- The last layer before a stride of 2 writes even and odd columns apart, and the rows at a strip's
  edge twice. `emit_gap` is one number for a layer, so all its vectors wait as long as these.
"""

LAYER_L_NOTE = """
Convolution 3x3 'same', 16x16x16 to 16 channels, 589,824 MAC, 8-bit activations. The others were
synthesized for xc7 with their own tools and run in simulation; none was placed and routed. FINN and
da4ml are streams built for this one layer; ours runs any layer from memory.
"""
