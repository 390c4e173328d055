"""Addresses. Oracle: taken apart by hand."""

import pytest

from runtime.errors import SourceNotFoundError
from runtime.sources.address import Address, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam/a/b", "rtsp://cam/a/b"),
        ("rtsp://eve:secret@cam:554/a", "rtsp://***@cam:554/a"),
        ("rtsp://secret@cam/a", "rtsp://***@cam/a"),
        ("rtsp://eve:sec@ret@cam/a", "rtsp://***@cam/a"),
        ("rtsp://eve:sec/ret@cam/a", "rtsp://***@cam/a"),
        ("rtsp://eve:sec?ret@cam/a?b=secret", "rtsp://***@cam/a?b=***"),
        ("rtsp://eve:12#34@cam/a", "rtsp://***@cam/a"),
        ("http://cam/@eve/a", "http://cam/@eve/a"),
        ("http://cam:80/@eve/a", "http://cam:80/@eve/a"),
        ("https://cam/a.m3u8?token=secret&b=secret#secret", "https://cam/a.m3u8?token=***&b=***"),
        ("https://cam/a?secret", "https://cam/a?***"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://eve:secret@[::1]/a", "http://***@[::1]/a"),
        (
            'location="rtsp://eve:secret@cam/a" ! x uri=http://b:secret@c',
            'location="rtsp://***@cam/a" ! x uri=http://***@c',
        ),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("text", "user", "password", "url", "with_password"),
    [
        ("RTSP://eve:p%40ss%2F@Cam:554/a", "eve", "p@ss/", "rtsp://Cam:554/a", "rtsp://eve:p%40ss%2F@Cam:554/a"),
        (
            "http://eve:p@ss@cam/a b?c=d e",
            "eve",
            "p@ss",
            "http://cam/a%20b?c=d%20e",
            "http://eve:p%40ss@cam/a%20b?c=d%20e",
        ),
        ("http://eve@cam", "eve", None, "http://cam", "http://eve@cam"),
        ("http://cam/%C3%A4ä", None, None, "http://cam/%C3%A4%C3%A4", "http://cam/%C3%A4%C3%A4"),
    ],
)
def test_an_address_is_taken_apart(text: str, user: str, password: str, url: str, with_password: str) -> None:
    address = Address.of(text)
    assert (address.user, address.password, address.url, address.with_password) == (user, password, url, with_password)
    assert "p@ss" not in repr(address)
    assert "p%40ss" not in repr(address)


@pytest.mark.parametrize(
    "text", ["rtsp://", "rtsp:///a", "http://eve:secret@", "http://cam:secret/", "http://[::1/", "http://cam:99999/"]
)
def test_what_names_no_host_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(SourceNotFoundError, match=r"cannot be used: it.*expected SCHEME://USER:PASSWORD@HOST") as found:
        Address.of(text)
    assert "eve" not in str(found.value)


def test_a_password_with_letters_that_have_a_meaning_says_how_to_write_it() -> None:
    with pytest.raises(SourceNotFoundError, match="are written %2F") as found:
        Address.of("rtsp://eve:sec/ret@cam/a")
    assert "sec" not in str(found.value).replace("SCHEME", "")
