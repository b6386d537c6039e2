"""The image's health check: `probe.py web` or `probe.py worker`. Exit code 0 means healthy.

It runs with `python -S -E`, which loads no site-packages: a check every few seconds costs little.
"""

import os
import socket
import sys
import time

STALE = 15.0  # seconds
LIMIT = 3.0  # seconds; the service itself answers within two


def web_is_ready() -> bool:
    host = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip()
    port = int(os.environ.get("PORT") or 8000)
    # "localhost" is both 127.0.0.1 and ::1, and the service may listen on one of them.
    with socket.create_connection(("localhost", port), LIMIT) as connection:
        connection.sendall(
            f"GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        return connection.recv(16).startswith(b"HTTP/1.1 200")


def worker_is_alive() -> bool:
    return time.time() - os.stat(os.environ["HEARTBEAT_FILE"]).st_mtime < STALE


try:
    well = worker_is_alive() if sys.argv[1:] == ["worker"] else web_is_ready()
except OSError as error:
    print(error)
    well = False
sys.exit(not well)
