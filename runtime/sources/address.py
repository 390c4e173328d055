"""Addresses on the network, whose passwords are shown to nobody."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from runtime.errors import SourceNotFoundError

HIDDEN = "***"

_IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s\"'<>]*)")
_PORT = re.compile(r":\d*$")


def redacted(text: str) -> str:
    """Hide what may be secret in every address of a text: who may enter, and all values of a query."""
    return _IN_TEXT.sub(lambda found: found[1] + _without_secrets(found[2]), text)


def _without_secrets(rest: str) -> str:
    """Hide the secrets of an address behind its `://`."""
    place, mark, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    if "@" not in authority and "@" in rest and ":" in authority and not _PORT.search(authority):
        _, _, rest = rest.rpartition("@")  # a password with a stroke or a question mark, which has to be written in %
        return f"{HIDDEN}@{_without_secrets(rest)}"
    if "@" in authority:
        authority = f"{HIDDEN}@{authority.rpartition('@')[2]}"
    path = path.partition("#")[0]
    if not mark:
        return authority + slash + path
    return f"{authority}{slash}{path}?{_without_values(query)}"


def _without_values(query: str) -> str:
    return "&".join(f"{part.partition('=')[0]}={HIDDEN}" if "=" in part else HIDDEN for part in query.split("&"))


@dataclass(frozen=True)
class Address:
    """Where something is on the network, and how to enter.

    Attributes:
        scheme: in small letters.
        host: name or number, as it was given.
        port: None for the usual one.
        url: the whole, without who may enter, with everything escaped that has to be; may hold a token.
        user: None if none was given.
        password: None if none was given.
        shown: for messages.
    """

    scheme: str
    host: str
    port: int | None
    url: str = field(repr=False)
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    shown: str

    @classmethod
    def of(cls, text: str) -> "Address":
        """Take an address apart.

        Raises:
            SourceNotFoundError: it has no host, or its port is none.
        """
        shown = redacted(text)
        problem = None
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, problem = None, None, "its port or host is none"
        if problem is None and not host:
            problem = "it names no host"
        if problem is not None or host is None:
            raise SourceNotFoundError(
                f"address {shown!r} cannot be used: {problem}; expected SCHEME://USER:PASSWORD@HOST:PORT/PATH, where "
                "/ ? # and @ in a password are written %2F %3F %23 %40"
            )
        authority = parts.netloc.rpartition("@")[2]
        path = quote(parts.path, safe="/%:=&~+!$,;'@()*[]")
        query = f"?{quote(parts.query, safe='/%:=&~+!$,;@()*[]?')}" if parts.query else ""
        return cls(
            parts.scheme.lower(),
            host,
            port,
            f"{parts.scheme.lower()}://{authority}{path}{query}",
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
            shown,
        )

    @property
    def with_password(self) -> str:
        """The address for FFmpeg, which wants to know who enters from there; shown to nobody."""
        if self.user is None:
            return self.url
        entrance = quote(self.user, safe="") + ("" if self.password is None else f":{quote(self.password, safe='')}")
        return self.url.replace("://", f"://{entrance}@", 1)
