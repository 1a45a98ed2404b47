"""What systemd is told (sd_notify): ready, alive, stopping."""

import os
import socket
from contextlib import suppress


def notify(*states: str) -> bool:
    """Send states such as ``READY=1``; return whether there was somebody to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto("\n".join(states).encode(), address)
        return True
    return False
