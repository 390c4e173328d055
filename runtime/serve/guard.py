"""Who may ask, and what browsers may do with the answer.

A page of another site can reach a server on this machine through its visitor's browser: by a name of its own that it
lets point here (DNS rebinding), by a WebSocket, which browsers open to anywhere, or by a form. Therefore Host and
Origin are checked before anything else.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

HEADERS = {
    "Server": "tcl-edge",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer. Everything comes from here; no other page may show it, embed it or learn that it was open."""

SIGN_IN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TCL Edge: token</title>
<form><p><label>This page needs the token that the server was started with (<code>--token</code>)<br>
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></p></form></html>
"""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """Write an address as in a URL."""
    return f"[{host}]" if ":" in host else host


def refusal(status: HTTPStatus, error: str, **more: str | None) -> web.Response:
    """Say in JSON what is wrong, for programs and the page alike."""
    return web.json_response({"error": error, **more}, status=status)


@dataclass(frozen=True)
class Guard:
    """Lets in who may ask.

    Attributes:
        host: that the server listens at.
        port: likewise.
        token: to be known; None for none, which only a server for this machine may have.
        limit_bytes: of a body.
        pages: paths that people open, from which a token in the address is taken away.
    """

    host: str
    port: int
    token: str | None
    limit_bytes: int
    pages: frozenset[str]

    @property
    def cookie(self) -> str:
        """Name of the cookie: one machine may have several servers, and browsers share cookies between ports."""
        return f"tcl_edge_{self.port}"

    def _names(self) -> set[str]:
        names = {*LOOPBACK_NAMES, bracketed(self.host)}
        return {f"{name}:{self.port}" for name in names} | (names if self.port == 80 else set())

    def _cookie_value(self) -> str:
        return hmac.new((self.token or "").encode(), b"cookie", hashlib.sha256).hexdigest()

    def _refused(self, request: web.Request) -> web.Response | None:
        host, origin = request.headers.get(hdrs.HOST, "").lower(), request.headers.get(hdrs.ORIGIN)
        if is_loopback(self.host) and host not in self._names():
            named = ", ".join(sorted(self._names()))
            return refusal(HTTPStatus.FORBIDDEN, f"Host {host!r:.100} given, expected one of {named}")
        changes = request.method not in (hdrs.METH_GET, hdrs.METH_HEAD)
        upgrades = hdrs.UPGRADE in request.headers
        if origin is not None and (changes or upgrades) and not _same(origin, host):
            return refusal(HTTPStatus.FORBIDDEN, f"Origin {origin!r:.100} given, expected http://{host}")
        if (request.content_length or 0) > self.limit_bytes:
            error = f"a body of {request.content_length} bytes given, at most {self.limit_bytes} are taken"
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error)
        return None

    def _knows_token(self, request: web.Request) -> bool:
        kind, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        return (kind.lower() == "bearer" and _equal(bearer.strip(), self.token or "")) or _equal(
            request.cookies.get(self.cookie, ""), self._cookie_value()
        )

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, or refuse to."""
        if refused := self._refused(request):
            return refused
        if self.token is None or self._knows_token(request):
            return await handler(request)
        if not _equal(request.query.get("token", ""), self.token):
            error = "a token is needed: send `Authorization: Bearer TOKEN`, or add ?token=TOKEN to the address once"
            if request.path in self.pages and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
                page = web.Response(status=HTTPStatus.UNAUTHORIZED, text=SIGN_IN, content_type="text/html")
            else:
                page = refusal(HTTPStatus.UNAUTHORIZED, error)
            page.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
            return page
        if request.path not in self.pages:  # a player that knows no cookies has to be answered at once
            return await handler(request)
        rest = urlencode([(name, value) for name, value in request.query.items() if name != "token"])
        there = request.path + "?" * bool(rest) + rest
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: there})

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add what every answer has."""
        response.headers.update(HEADERS)
        if self.token is not None and _equal(request.query.get("token", ""), self.token):
            cookie = f"{self.cookie}={self._cookie_value()}; HttpOnly; Path=/; SameSite=Strict"
            response.headers.add(hdrs.SET_COOKIE, cookie)


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host


def _equal(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing about where they differ."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode(errors="surrogateescape"))
