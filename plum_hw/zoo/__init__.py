"""Networks by name with random weights, for figures that depend on shapes and densities alone.

`build` makes one; the scheme of the weights is an option and everything else stays the same.
"""

from .networks import NAMES, build
from .weights import SCHEMES, Options

__all__ = ["NAMES", "SCHEMES", "Options", "build"]
