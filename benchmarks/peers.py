"""Figures of other systems that ours are shown beside, with their sources and what differs."""

from __future__ import annotations

#: Layer L: (system, cycles a frame, logic, note). Measured by synthesis for xc7, not placed.
LAYER_L = (
    (
        "FINN+ 1.6.1 RTL, 64 MAC a cycle",
        "9,216",
        "1,349 LUT for the MVU, some 2,700 around it; 32 DSP",
        "2-bit weights, 8-bit activations; streams, results exact",
    ),
    (
        "NNgen 1.3.4, 9 / 36 / 144 MAC a cycle",
        "67,457 / 18,313 / 6,017",
        "10,274 / 13,991 / - LUT; 11 / 40 / - DSP",
        "8-bit weights; with DMA and control",
    ),
    (
        "NNgen 1.3.4 ternary, 36 MAC a cycle",
        "17,729",
        "15,301 LUT, 4 DSP",
        "wrong results once requantization is on",
    ),
    (
        "da4ml 0.6, weights in logic, signed binary, 50 % / 65 % zero",
        "256",
        "5,906 / 4,976 LUT, no DSP",
        "one layer only; other weights need another synthesis",
    ),
)

#: Whole networks: (system, network and accuracy, result, source, what differs).
BOARDS = (
    (
        "fpgaConvNet, ZedBoard Z-7020",
        "ResNet-8, 86.0 %",
        "0.411 ms at 143 MHz",
        "MLPerf Tiny v1.1 closed, raw log",
        "8-bit weights; 47 k LUT, 211 DSP",
    ),
    (
        "FINN CNV-W1A1, Arty A7-100T",
        "a VGG-like binary network, 84.5 %",
        "1.517 ms at 100 MHz",
        "MLPerf Tiny v0.7 open, raw log",
        "another network; 1-bit activations",
    ),
    (
        "hls4ml RN07, Arty A7-100T",
        "a residual network, 83.5 %",
        "33.2 ms",
        "MLPerf Tiny v0.7 open, raw log",
        "another network; measured on the board with its host",
    ),
    (
        "Tensil, Arty A7-35T, 8x8 at 150 MHz",
        "ResNet-20",
        "21 ms",
        "its documentation, a latency model",
        "16-bit weights and activations",
    ),
    (
        "CFU-Playground, Arty A7-35T at 100 MHz",
        "MLPerf Tiny DS-CNN",
        "98 ms",
        "its documentation",
        "8-bit weights, a processor with a small accelerator",
    ),
)
