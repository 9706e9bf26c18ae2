"""Is the server of this container ready? Exit code 0 or 1; made for HEALTHCHECK, so it loads next to nothing.

It reads how the server was started from the server's own command line, so that flags need no repeating.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from options import OptionError, Options, read_options

SECONDS = 5.0


def main() -> int:
    try:
        return 0 if _status(read_options(_server_arguments())) == b"200" else 1
    except (OSError, OptionError) as exc:
        print(f"no answer: {exc}", file=sys.stderr)
        return 1


def _server_arguments() -> list[str]:
    """What follows serve.py on the command line of PID 1, be that the server itself or an init before it."""
    words = Path("/proc/1/cmdline").read_text().split("\0")[:-1]
    at = [index for index, word in enumerate(words) if word.endswith("serve.py")]
    return words[at[0] + 1 :] if at else []


def _status(options: Options) -> bytes:
    """By hand: the standard library's client would take longer to load than the server to answer."""
    with _connect(options) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.readline()[9:12]


def _connect(options: Options) -> socket.socket:
    if options.uds is None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
        return socket.create_connection((host, options.port), timeout=SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(SECONDS)
    connection.connect(str(options.uds))
    return connection


if __name__ == "__main__":
    sys.exit(main())
