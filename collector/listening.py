# SPDX-License-Identifier: Apache-2.0
"""Opening the sockets of a listener, and saying what is wrong with its address and what to do."""

import asyncio
import errno
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from collector.http_guard import ListenError
from collector.kinds import Endpoint
from collector.options import Exit

BACKLOG: Final = 128


class AddressError(ListenError):
    """The configuration is well-formed, and this machine does not have its address to give, now or at all."""

    exit_code = Exit.NOT_AS_WISHED


def close_all(sockets: Mapping[str, Sequence[socket.socket]]) -> None:
    """Also those that a server has closed already."""
    for opened in sockets.values():
        for sock in opened:
            sock.close()


async def bind(key: str, endpoint: Endpoint) -> Sequence[socket.socket]:
    """Sockets that listen on every address that the endpoint's name stands for. Raises AddressError."""
    if not endpoint.host:
        found = [(socket.AF_INET6, ("::", endpoint.port)), (socket.AF_INET, ("0.0.0.0", endpoint.port))]  # noqa: S104
    else:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            message = f'the name "{endpoint.host}" cannot be resolved ({error.strerror})'
            raise AddressError(key, message, "use an address of this machine") from error
        found = [(socket.AddressFamily(family), (str(name[0]), endpoint.port)) for family, _, _, _, name in infos]
    opened: list[socket.socket] = []
    failed: OSError | None = None
    for family, name in dict.fromkeys(found):
        try:
            opened.append(_bind_one(family, name, both=not endpoint.host))
        except OSError as error:
            failed = error
        if opened and not endpoint.host:
            break  # an IPv6 socket for all addresses takes IPv4 as well
        if failed and failed.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            break
    if not opened or (failed and failed.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}):
        for sock in opened:
            sock.close()
        assert failed is not None
        raise _bind_error(key, endpoint, failed) from failed
    return opened


def _bind_one(family: socket.AddressFamily, name: tuple[str, int], *, both: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        sock.bind(name)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_error(key: str, endpoint: Endpoint, error: OSError) -> AddressError:
    other = Endpoint(endpoint.host, endpoint.port + 10 if endpoint.port < 65525 else 9510)
    if error.errno == errno.EADDRINUSE:
        remedy = f"see who uses it with `ss -ltnp sport = :{endpoint.port}`, or choose another: --set {key}={other}"
        return AddressError(key, f"{endpoint} is in use", remedy)
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = f"choose a port above 1023: --set {key}={Endpoint(endpoint.host, endpoint.port + 9000)}"
        return AddressError(key, f"{endpoint} may not be opened by this user", remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressError(
            key, f"{endpoint.host} is no address of this machine", "see `ip address` for those that are"
        )
    return AddressError(key, f"{endpoint} cannot be opened ({error.strerror})", "choose another address")
