"""From what a device is called to an open transport."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from plum_host.errors import TransportError
from plum_host.transports.base import Transport
from plum_host.transports.serial_port import SerialTransport
from plum_host.transports.udp import SCHEME, UdpTransport

_GROUP = "plum_host.transports"


def open_transport(device: str, config: Any = None, **options: Any) -> Transport:
    """Open a device; a TransportError where there is none or it cannot be opened.

    *Parameters*: ``device``, the name of an entry point in the group ``plum_host.transports``
    ("golden", "virtual"), a pyserial URL, or a serial port; ``config``, the array of a device that
    is made to order (others have their own); ``options`` for the transport.
    """
    found = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if device in found:
        try:
            opener = found[device].load()
        except ImportError as error:
            raise TransportError(
                f"device {device!r} needs {error.name}: pip install 'plum-hw[hw,sim]'"
            ) from None
        return opener(config, **options)
    # COM3 is a port; a word without a number, most likely, is a misspelt name.
    if not device or (device.isidentifier() and not device[-1].isdigit()):
        names = ", ".join(sorted(found)) or "none is installed"
        raise TransportError(
            f"no device {device!r}; it must be one of those installed ({names}), a serial port, "
            "or a URL such as socket://127.0.0.1:PORT"
        )
    if device.startswith(SCHEME):
        return UdpTransport(device, **options)
    return SerialTransport(device, **options)
