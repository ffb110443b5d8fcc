"""Errors meant for users.

Each carries one clear line that names the wrong value and says what would be right. The command
line prints that line and exits with code 2; nothing else is ever shown for them.
"""


class PlumError(Exception):
    """Base of every error that a user can cause and mend."""


class NetworkError(PlumError):
    """A quantized network, or the file that holds it, is not valid."""


class BundleError(PlumError):
    """A compiled bundle is damaged, or was made for something else."""


class ConfigError(PlumError):
    """An array configuration or a command-line value is not valid."""


class ImageError(PlumError):
    """Images do not fit the network: type, shape or value range."""


class UnsupportedError(PlumError):
    """A valid network needs what the array configuration does not have.

    *Members*: ``layer``, the name of the layer concerned (``None`` for the network as a whole).
    """

    def __init__(self, message: str, layer: str | None = None) -> None:
        super().__init__(message)
        self.layer = layer


class BuildError(PlumError):
    """A build failed: a tool is missing, or the design does not fit its part."""
