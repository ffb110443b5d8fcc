"""Generator of accelerators for signed-binary networks: compiler, golden model, gateware, builds."""

__version__ = "0.1.0"
