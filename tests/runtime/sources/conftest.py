"""Real servers on loopback."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .web_server import Web


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that nobody knows, for 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
    ]
    subject = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", "/dev/stdout"]
    done = subprocess.run([*command, *subject], capture_output=True, check=True, timeout=30)
    with path.open("ab") as file:
        file.write(done.stdout)
    return path
