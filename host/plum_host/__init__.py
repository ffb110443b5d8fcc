"""Host side of plum accelerators: everything that talks to a device, on NumPy alone."""

__version__ = "0.1.0"
