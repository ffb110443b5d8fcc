"""What can go wrong between a program and a device, one class for each kind.

Every message is one line with the wrong value and what would be right.
"""

from __future__ import annotations


class PlumHostError(Exception):
    """Base of all errors that plum_host raises on purpose."""


class TransportError(PlumHostError):
    """The way to the device is missing, busy, or broke: port, socket, device process."""


class DeviceTimeoutError(TransportError):
    """The device did not answer in time."""


class DeviceRestartedError(TransportError):
    """The device was restarted, or another program opened it: what was loaded is gone."""


class ProtocolError(PlumHostError):
    """The device answered something that the protocol does not allow."""


class RefusedError(ProtocolError):
    """The device refused a request: it was malformed, or meant memory that is not there."""


class VerifyError(PlumHostError):
    """A memory of the device does not hold what was written to it."""


class ConfigMismatchError(PlumHostError):
    """A bundle made for another array configuration than the device's."""


class ImageError(PlumHostError):
    """An image or label file that cannot be read, or images that the network does not take."""


class BundleError(PlumHostError):
    """A bundle that is damaged, truncated, too large or of another format version."""
