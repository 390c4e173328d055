"""What to say of a server that does not send what was asked for."""

import http.client
import socket
import ssl

from runtime.errors import SourceError
from runtime.sources.address import Address


def answered(address: Address, status: int) -> SourceError:
    """Explain a status of HTTP or RTSP that is no success."""
    if status in (401, 403, 407):
        given = "refuses the user or password given" if address.user is not None else "demands a user and a password"
        return SourceError(
            f"{address.shown} {given} (status {status}): expected {address.scheme}://USER:PASSWORD@{address.host}/..., "
            "where / ? # and @ in a password are written %2F %3F %23 %40"
        )
    if status in (404, 410):
        return SourceError(
            f"{address.shown} is not there (status {status}): {address.host} answers, but has nothing under this path; "
            "its manual or its own page names the right one"
        )
    if status == 429 or status >= 500:
        return SourceError(
            f"{address.shown} cannot be had at the moment (status {status}): {address.host} is overloaded or out of "
            "order; look at its own log"
        )
    return SourceError(f"{address.shown} is refused (status {status}) by {address.host}: is the address right?")


def unreachable(address: Address, error: BaseException) -> SourceError:
    """Explain why there is no connection, or no longer."""
    shown, host = address.shown, address.host
    if isinstance(error, socket.gaierror):
        return SourceError(f"{shown}: there is no host {host!r}, or no name server: check the name and the network")
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            f"{shown}: the certificate of {host} is not to be trusted ({error.verify_message}): if it is the camera's "
            "own, save it as camera.pem and set SSL_CERT_FILE=camera.pem"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no TLS").replace("_", " ").lower()
        return SourceError(f"{shown}: no encrypted connection to {host} ({reason}): does it speak TLS on this port?")
    if isinstance(error, TimeoutError):
        return SourceError(f"{shown}: {host} does not answer in time: is it switched on, and reachable from here?")
    if isinstance(error, ConnectionRefusedError):
        return SourceError(f"{shown}: {host} refuses the connection: does the server run, and on this port?")
    if isinstance(error, http.client.HTTPException):
        return SourceError(f"{shown}: {host} answers, but not as HTTP says: is the address right?")
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return SourceError(f"{shown}: the connection to {host} failed ({reason}): check cable, address and network")
    return SourceError(f"{shown}: {host} cannot be used ({type(error).__name__}): is the address right?")


def web_page(address: Address) -> SourceError:
    """Say that it is a page to be looked at."""
    return SourceError(
        f"{address.shown} is a web page, no video: expected the address of the stream itself, which the camera's "
        "manual names"
    )
