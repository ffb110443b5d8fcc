"""Compiler: places a network on one array, packs it into a bundle and predicts its cycles."""

from .compile import check_network, compile_network
from .problems import Problem

__all__ = ["Problem", "check_network", "compile_network"]
