"""How many replicas share one machine's memory: each shows itself by the name of a socket, which ends with its process.

Nobody has to be asked for it, and nothing is left of a replica that was killed. Such names are Linux' own
(`man 7 unix`, abstract sockets); everybody in the same container or on the same machine sees them.
"""

import socket
from pathlib import Path
from typing import Final

SOCKETS: Final = Path("/proc/net/unix")
PREFIX: Final = "adapter-service-replica"


class NodeMates:
    """Those that share `memory`: the machine's own, or that of a GPU. Constructing it shows this one to the others."""

    def __init__(self, name: str, memory: str = "") -> None:
        """`name` is no other replica's."""
        self._mark = f"@{PREFIX} {memory} "
        self._shown = socket.socket(socket.AF_UNIX)
        self._shown.bind(f"\0{self._mark.removeprefix('@')}{name}")

    @property
    def count(self) -> int:
        """At this moment, with this one."""
        return max(1, SOCKETS.read_text(errors="replace").count(self._mark))

    def close(self) -> None:
        """From now on the others don't count this one."""
        self._shown.close()
