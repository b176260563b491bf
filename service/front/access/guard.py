"""Where a service without keys may listen: on this machine alone."""

import ipaddress

from models_registry.errors import Invalid
from service.front.access.key_ring import KeyRing


def require_guarded(host: str, ring: KeyRing) -> None:
    """Raises `Invalid` if everyone who reaches `host` over a network could change everything."""
    if ring.is_open and not is_loopback(host):
        raise Invalid(
            f"There are no keys, so anyone who reaches {host} could change everything. Make one with `adapterctl "
            "keys create --role admin`, set ADAPTER_SERVICE_ADMIN_KEY, listen on 127.0.0.1, or say by "
            "ADAPTER_SERVICE_ALLOW_ANONYMOUS which role callers without a key have."
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
