"""A web server on loopback, and its answers."""

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Page = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """A web server of one test.

    Attributes:
        pages: answers by path, without the query. What one does with the connection is its own affair.
        asked: heads of all requests.
        root: its address, without a stroke at the end.
    """

    def __init__(self, wrap: Callable[[ThreadingHTTPServer], None] = lambda server: None) -> None:
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[BaseHTTPRequestHandler] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                web.asked.append(self)
                page = web.pages.get(self.path.partition("?")[0])
                try:
                    self.send_error(404) if page is None else page(self)
                except OSError:  # who asked has left
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # who asked did not like our certificate

        self._server = Server(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        wrap(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def sends(
    data: bytes, *, ranges: bool = True, cut: int | None = None, kind: str = "video/mp4", tag: str = '"a"'
) -> Page:
    """Answer with a file, or with its first bytes after having promised all."""

    def page(request: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")) if ranges else None
        begin = int(asked[1]) if asked else 0
        request.send_response(206 if asked else 200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data) - begin))
        request.send_header("ETag", tag)
        if ranges:
            request.send_header("Accept-Ranges", "bytes")
        request.end_headers()
        request.wfile.write(data[begin:][:cut])
        request.close_connection = True

    return page


def says(status: int, headers: dict[str, str], body: bytes = b"") -> Page:
    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return page
