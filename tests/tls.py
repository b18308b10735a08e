"""A real https server on 127.0.0.1, with a certificate that was made a moment ago."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.http_server import Script, Server


@dataclass(frozen=True)
class Certificate:
    """A certificate that nobody signed but itself, and its key."""

    file: Path
    key: Path


def certificate(directory: Path, name: str = "IP:127.0.0.1") -> Certificate:
    """Make a certificate for this name, as `IP:127.0.0.1` or `DNS:example.org`."""
    if not shutil.which("openssl"):
        if os.environ.get("CI"):
            pytest.fail("no openssl (in CI a missing tool is a failure)")
        pytest.skip("no openssl on this machine")
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    words += ["-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run(words, check=True, capture_output=True)
    return made


@contextmanager
def serve_tls(script: Script, certificate: Certificate) -> Iterator[Server]:
    """As `tests.http_server.serve`, but over TLS; `url` of the server still says http."""
    server = Server(script)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    # The greeting is the handler's: one that a client breaks off must not stop the others.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()


def url_of(server: Server) -> str:
    """Its base URL."""
    return f"https://127.0.0.1:{server.port}/v1"
