"""What a web server has, read as a file, over a connection of our own: whoever waits for it can be woken."""

import contextlib
import http.client
import io
import socket
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError

from runtime.errors import SourceError
from runtime.sources.address import Address, redacted
from runtime.sources.refusal import answered, unreachable

TIMEOUT_S = 10.0
"""Without a byte, before a server is given up; a camera may send a picture every few seconds."""

NEAR = 1 << 18
"""Bytes that are read over sooner than asked for anew."""

ATTEMPTS = 3
"""To go on with a download that broke off, without getting any further."""

PAUSE_S = 0.3
"""Before the first of them; then twice as long each time."""


class HttpFile(io.RawIOBase):
    """A file behind `http(s)://`, that is read, and looked into where the server can do that.

    A download that breaks off goes on where it was, if the server can begin there and the file is still the same.

    Attributes:
        address: as asked for.
        name: where it was found, without password and query: what lies beside it is relative to that.
        size: bytes, None if the server does not say.
        content_type: as the server says, in small letters, with parameters.

    Args:
        address: with or without a password, for the Basic or Digest method.
        timeout_s: without a byte.

    Raises:
        SourceError: there is no connection, or the server refuses.
    """

    def __init__(self, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__()
        self.address = address
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._given_up = False
        self._beside: list[HttpFile] = []
        self._opener = _opener(address, self._connected)
        self._position = self._begin = 0
        self._ahead = b""
        self._response: Any = None  # in case there is none to close
        self._response = self._request()
        headers = self._response.headers
        self.name = self._response.url.partition("?")[0]
        self.content_type: str = headers.get("Content-Type", "").lower()
        length = headers.get("Content-Length", "")
        self.size = int(length) if length.isdigit() and not headers.get("Transfer-Encoding") else None
        self._same = headers.get("ETag") or headers.get("Last-Modified")
        self._looks = headers.get("Accept-Ranges", "").lower() == "bytes" and self.size is not None

    def _connected(self, connection: socket.socket) -> None:
        self._socket = connection
        if self._given_up:
            self.interrupt()

    def _request(self) -> Any:
        """Ask for what follows the present position."""
        request = urllib.request.Request(self.address.url, headers={"User-Agent": "tcl-edge", "Accept": "*/*"})
        if self._position:
            request.add_header("Range", f"bytes={self._position}-")
            if self._same and not self._same.startswith("W/"):
                request.add_header("If-Range", self._same)
        problem: SourceError
        try:
            response = self._opener.open(request, timeout=self._timeout_s)
        except HTTPError as error:
            error.close()
            problem = answered(self.address, error.code)
        except URLError as error:
            cause = error.reason
            problem = unreachable(self.address, cause if isinstance(cause, BaseException) else OSError(0, str(cause)))
        except UnicodeEncodeError:
            problem = SourceError(f"{self.address.shown} uses the Digest method: expected a password of ASCII letters")
        except ValueError:  # of urllib: a method of entrance that it does not know
            problem = answered(self.address, 401)
        except (http.client.HTTPException, OSError) as error:
            problem = unreachable(self.address, error)
        else:
            if self._position and response.status != 206:
                response.close()
                raise SourceError(f"{self.address.shown} has changed while it was read: begin again")
            self._begin = self._position
            return response
        raise problem  # here, where the exception with the address has been left

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Whether the server sends parts of it."""
        return self._looks

    def tell(self) -> int:
        """Where the next byte lies."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere else; nothing is asked for before it is read."""
        if not self._looks or self.size is None:
            raise io.UnsupportedOperation("seek")
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        forward = position - self._position
        self._ahead = self._ahead[forward:] if forward >= 0 else b""
        self._position = position
        return position

    def peek(self, size: int) -> bytes:
        """Look at the first bytes, which are still read afterwards."""
        while len(self._ahead) < size:
            at = self._position
            self._position = at + len(self._ahead)
            try:
                more = self._next(size - len(self._ahead))
            finally:
                self._position = at
            if not more:
                break
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = -1) -> bytes:
        """Read what is there, at most so many bytes; nothing at the end.

        Raises:
            SourceError: it broke off.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._next(size)
        self._position += len(data)
        return data

    def _next(self, size: int) -> bytes:
        """Fetch at most so many bytes from the present position on, again and again if need be."""
        if self.size is not None and self._position >= self.size:
            return b""
        problem: SourceError | None = None
        for attempt in range(ATTEMPTS + 1):
            if attempt:
                self._wait(PAUSE_S * 2 ** (attempt - 1))
            try:
                self._arrive(anew=attempt > 0)
                data: bytes = self._response.read1(size)
            except SourceError as error:
                problem = error
            except (http.client.HTTPException, OSError, ValueError) as error:  # ValueError: closed meanwhile
                problem = unreachable(self.address, error)
            else:
                if data:
                    self._begin += len(data)
                    return data
                if self.size is None and not self._given_up:
                    return b""
                problem = None
            if self._given_up or not self._looks:
                break
        if self._given_up:
            raise SourceError(f"{self.address.shown} was closed")
        of = "" if self.size is None else f" of {self.size}"
        raise SourceError(
            f"{self.address.shown} broke off after {self._position}{of} bytes"
            + ("" if problem is None else f" ({problem})")
            + ": fetch it again, or download it first"
        )

    def _arrive(self, *, anew: bool) -> None:
        """Bring the connection to where the next byte lies."""
        skip = self._position - self._begin
        if anew or not 0 <= skip <= NEAR:
            self._response.close()
            self._response = self._request()
        while self._begin < self._position:
            data = self._response.read1(self._position - self._begin)
            if not data:
                raise ConnectionError(0, "ended early")
            self._begin += len(data)

    def _wait(self, seconds: float) -> None:
        end_s = monotonic() + seconds
        while not self._given_up and monotonic() < end_s:
            sleep(0.02)

    def beside(self, url: str) -> "HttpFile":
        """Open what a list names, and nothing but from web servers; only this server gets the password.

        Raises:
            SourceError: it is not to be had, or this was interrupted.
        """
        if self._given_up:
            raise SourceError(f"{self.address.shown} was closed")
        other = HttpFile(self._address_beside(url), timeout_s=self._timeout_s)
        self._beside = [*(file for file in self._beside if not file.closed), other]
        if self._given_up:
            other.interrupt()
        return other

    def _address_beside(self, url: str) -> Address:
        if url == self.name:
            return self.address
        if not url.lower().startswith(("http://", "https://")):
            raise SourceError(f"{self.address.shown} leads to {redacted(url)}: expected http:// or https:// only")
        other = Address.of(url)
        if _server(other) == _server(self.address):
            return replace(other, user=self.address.user, password=self.address.password)
        return other

    def interrupt(self) -> None:
        """Wake whoever waits for a byte of it or of what was opened beside it: there will be none."""
        self._given_up = True
        for other in self._beside:
            other.interrupt()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the connection go; not while another thread reads."""
        if not self.closed:
            self.interrupt()
            if self._response is not None:
                self._response.close()
            self._opener.close()  # or all of it would hold each other
            self._beside, self._ahead, self._response = [], b"", None
        super().close()


def _opener(address: Address, connected: Callable[[socket.socket], None]) -> urllib.request.OpenerDirector:
    """Speak HTTP and HTTPS alone, with redirections, proxies of the environment, and a password for this server."""

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    class SecureConnection(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Connection, request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(SecureConnection, request, context=ssl.create_default_context())

    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if address.user is not None:
        passwords.add_password(None, _server(address), address.user, address.password or "")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPBasicAuthHandler(passwords),
        Plain(),
        Secure(),
    ):
        opener.add_handler(handler)
    return opener


def _server(address: Address) -> str:
    """The root of a server: its password is for all that it has."""
    scheme, _, rest = address.url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}/"
