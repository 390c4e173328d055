"""Cameras on the network that speak RTSP."""

import socket
import ssl
from time import monotonic

import av

from runtime.errors import SourceError
from runtime.sources.address import Address
from runtime.sources.live import PATIENCE, LiveSource, Patience
from runtime.sources.packets import OPTIONS, PacketCapture
from runtime.sources.refusal import answered, unreachable

TIMEOUT_S = 10.0
"""To open one, and from a picture to the next; `Patience` gives one up sooner that was faster before."""

STATUS = {
    av.error.HTTPUnauthorizedError: 401,
    av.error.HTTPForbiddenError: 403,
    av.error.HTTPNotFoundError: 404,
    av.error.HTTPBadRequestError: 400,
    av.error.HTTPOtherClientError: 400,
    av.error.HTTPServerError: 500,
}


def open_rtsp(address: Address, *, patience: Patience = PATIENCE, wait: bool = True) -> LiveSource:
    """Open a camera behind `rtsp(s)://`, and again whenever it is lost.

    Args:
        address: with or without a password, for the Basic or Digest method.
        patience: see `LiveSource`.
        wait: see `LiveSource`.

    Raises:
        SourceError: it cannot be opened, or sends nothing.
    """
    return LiveSource(address.shown, lambda: connect(address), patience=patience, wait=wait)


def connect(address: Address) -> PacketCapture:
    """Open a connection to it, over TCP: nothing is lost on the way, and no router has to let it in.

    Raises:
        SourceError: it cannot be opened.
    """
    options = {
        **OPTIONS,
        "rtsp_transport": "tcp",
        "allowed_media_types": "video",
        "timeout": str(int(TIMEOUT_S * 1e6)),
        "protocol_whitelist": "tcp,tls,rtp,udp" if address.scheme == "rtsp" else "tls,tcp,rtp,udp",
    }
    if address.scheme == "rtsps":
        options["tls_verify"] = "1"
        trusted = ssl.get_default_verify_paths().cafile
        if trusted is not None:  # or FFmpeg's own idea of what the system trusts
            options["ca_file"] = trusted
    problem: SourceError | None = None
    begin_s = monotonic()
    with av.logging.Capture():  # what FFmpeg tells holds the address with its password
        try:
            container = av.open(address.with_password, "r", format="rtsp", options=options, timeout=TIMEOUT_S)
        except (av.error.FFmpegError, OSError) as error:
            late = monotonic() - begin_s > 0.9 * TIMEOUT_S  # which FFmpeg takes for a strange answer
            problem = _explain(address, TimeoutError() if late else error)
    if problem is not None:
        raise problem  # here, where the exception with the address has been left
    return PacketCapture(container, address.shown)


def _explain(address: Address, error: Exception) -> SourceError:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), None)
    if status is not None:
        return answered(address, status)
    if isinstance(error, av.error.ExitError | TimeoutError):
        return unreachable(address, TimeoutError())
    if isinstance(error, av.error.InvalidDataError | av.error.ProtocolNotFoundError):
        return SourceError(f"{address.shown}: {address.host} answers, but not as RTSP says: is it the right port?")
    if isinstance(error, ConnectionRefusedError):
        return unreachable(address, error)
    return unreachable(address, _asked_again(address) or error)


def _asked_again(address: Address) -> OSError | None:
    """Find out what FFmpeg does not tell apart: no such host, nobody there, and a certificate that is not trusted."""
    try:
        with socket.create_connection((address.host, address.port or 322), timeout=2) as plain:
            if address.scheme == "rtsps":
                with ssl.create_default_context().wrap_socket(plain, server_hostname=address.host):
                    pass
    except OSError as error:
        return error
    return None
