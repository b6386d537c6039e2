"""What a person needs once the service is up: a token that works, and commands to paste."""

import http.client
import itertools
import json  # sample
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from dev.clone import ROOT, TOKEN
from dev.errors import DevError
from dev.files import write_private
from dev.guardian import finish, spawn
from dev.processes import Patience

SCOPES = (
    "links:read",  # sample
    "links:write",  # sample
    "tokens:write",
)


class Answer(NamedTuple):
    """What the service says; status 0 when it says nothing."""

    status: int
    body: str


def ask(port: int, path: str, token: str = "") -> Answer:
    """GET a path of the service, past any proxy that the environment names."""
    # /health itself gives up after two seconds.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(
            "GET", path, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return Answer(0, "")
    finally:
        connection.close()


def working_token(port: int, environment: Mapping[str, str], patience: Patience) -> str:
    """Return the token kept in .local/token, or a new one where the service refuses it.

    Asking the service covers every way to lose it: new data, another database, a
    revocation, an expiry.
    """
    if TOKEN.exists():
        token = TOKEN.read_text(encoding="utf-8").strip()
        if ask(port, "/api/v1/tokens", token).status != http.HTTPStatus.UNAUTHORIZED:
            return token
    command = [sys.executable, "-m", "app", "token", "create", "--name", "dev"]
    command += itertools.chain.from_iterable(("--scope", scope) for scope in SCOPES)
    process = spawn(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    )
    failed = finish(process, patience)
    # Both fit into a pipe's buffer, so they can be read after the end.
    output, errors = (text.decode(errors="replace").strip() for text in process.communicate())
    if failed or not output:
        raise DevError(f"No token could be made:\n{errors}")
    write_private(TOKEN, output + "\n")
    return output


def banner(port: int, metrics_port: int, token: str) -> str:
    """Return what is shown when the service is up."""
    url = f"http://127.0.0.1:{port}"
    lines = [
        "",
        "Drydock is up.",
        "",
        f"  address  {url}",
        f"  docs     {url}/docs",
        f"  metrics  http://127.0.0.1:{metrics_port}/metrics",
        f"  token    {token}",
        "",
    ]
    lines += sample_commands(url, token, free_slug(port, token))  # sample
    lines += ["Ctrl-C stops everything; data stays in .local/", ""]
    return "\n".join(lines)


# begin sample
def free_slug(port: int, token: str) -> str:
    """Return a slug that is not taken yet, so that the first command works on every start."""
    slugs = itertools.chain(["hello"], (f"hello-{number}" for number in range(2, 100)))
    return next(
        (
            slug
            for slug in slugs
            if ask(port, f"/api/v1/links/{slug}", token).status == http.HTTPStatus.NOT_FOUND
        ),
        "hello",
    )


def sample_commands(url: str, token: str, slug: str) -> list[str]:
    """Return three commands that can be pasted into another terminal."""
    bearer = f"-H 'Authorization: Bearer {token}'"
    link = json.dumps({"url": "https://example.com/", "slug": slug})
    return [
        "Make a short link, follow it, see its clicks (in another terminal):",
        "",
        f"  curl -s {url}/api/v1/links {bearer} -H 'Content-Type: application/json' -d '{link}'",
        f"  curl -i {url}/{slug}",
        f"  curl -s {url}/api/v1/links/{slug}/clicks {bearer}",
        "",
    ]


# end sample
