"""Which addresses a webhook may reach: those of the internet, unless private networks are allowed.

The rule: what counts is the address that a connection is made to, at the moment when its socket is made; a name that
was harmless when somebody looked it up earlier proves nothing.

>>> refusal_of("10.1.2.3")
'10.1.2.3 is in a private network'
>>> refusal_of("::ffff:127.0.0.1")
'::ffff:127.0.0.1 is in a private network'
>>> refusal_of("1.1.1.1")
''
"""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

ADVICE = "set RATEMILL_WEBHOOK_PRIVATE_NETWORKS=true if it is meant"
# Addresses that a gateway turns into the IPv4 address in their last four bytes.
_TRANSLATED = IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A connection was to be made to an address that webhooks may not reach."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EACCES, sentence)


def refusal_of(address: str) -> str:
    """Why webhooks may not reach an address; empty if they may. ValueError if it is none."""
    # A scope, such as %eth0, is no part of the address.
    found = ip_address(address.partition("%")[0])
    meant = _translated(found)
    is_public = meant.is_global and not meant.is_multicast
    return "" if is_public else f"{address} is in a private network"


def public_socket(place: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as getaddrinfo gives it; PrivateAddressError if webhooks may not reach that."""
    family, kind, protocol, _, where = place
    if refusal := refusal_of(str(where[0])):
        raise PrivateAddressError(f"{refusal}: {ADVICE}")
    return socket.socket(family, kind, protocol)


def _translated(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
