"""Networks by name with random weights, for figures that depend on shapes and densities alone.

`build` makes one; the scheme of the weights is an option and everything else stays the same.
`DESCRIPTIONS` has the layers of each by themselves, for other builders.
"""

from .networks import DESCRIPTIONS, NAMES, Description, build, residual
from .weights import SCHEMES, Options

__all__ = ["DESCRIPTIONS", "NAMES", "SCHEMES", "Description", "Options", "build", "residual"]
