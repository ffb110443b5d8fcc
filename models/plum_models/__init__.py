"""Training of signed-binary networks in PyTorch and their export as plum network files.

The only package of the project that imports torch. What leaves it is a network file (`.qnet`, see
docs/network-file.md), which the rest of the project reads with NumPy alone.
"""

__version__ = "0.1.0"
