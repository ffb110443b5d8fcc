"""Generator of accelerators for signed-binary networks: compiler, golden model, gateware."""

__version__ = "0.1.0"
