"""What `make dev` prints when the service is up: a token that works, and commands to try."""

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Mapping

from dev.clone import TOKEN
from dev.errors import DevError
from dev.files import LOCAL, ROOT, make_folder, write_private
from dev.guardian import finish, spawn
from dev.processes import Patience

Run = Callable[[list[str]], str]  # runs `python -m app …` and returns what it prints


def ask(port: int, path: str, token: str = "") -> tuple[int, str]:
    """GET a path of the service; return status and body. Status 0 means no answer.

    It ignores the proxies that the environment names.
    """
    # /health itself gives up after two seconds.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, "no answer"
    finally:
        connection.close()


def on_this_machine(environment: Mapping[str, str], patience: Patience) -> Run:
    """How to run `python -m app …` with this environment."""

    def run(words: list[str]) -> str:
        command = [sys.executable, "-m", "app", *words]
        process = spawn(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
        )
        failed = finish(process, patience)
        # Both outputs fit into a pipe's buffer, so this can read them after the end.
        output, errors = (text.decode(errors="replace").strip() for text in process.communicate())
        if failed:
            raise DevError(f"`python -m app {' '.join(words)}` failed:\n{errors}")
        return output

    return run


def working_token(port: int, run: Run) -> str:
    """Return the token in .local/token, or a new one if that one does not allow everything.

    It may be of another database, revoked or expired. Or a feature is new, and with it its scopes.
    """
    if TOKEN.exists():
        token = TOKEN.read_text(encoding="utf-8").strip()
        if allows_everything(port, token):
            return token
    token = run(["token", "create", "--name", "dev", "--all-scopes"])
    make_folder(LOCAL)
    write_private(TOKEN, token + "\n")
    return token


def allows_everything(port: int, token: str) -> bool:
    status, body = ask(port, "/api/v1/tokens?limit=100", token)
    if status != http.HTTPStatus.OK:
        return status != http.HTTPStatus.UNAUTHORIZED  # it may be limited for a minute
    listed = {item["id"].replace("-", ""): item["scopes"] for item in json.loads(body)["items"]}
    schemas = json.loads(ask(port, "/openapi.json")[1])["components"]["schemas"]
    known = schemas["TokenCreate"]["properties"]["scopes"]["items"]["enum"]
    return set(known) <= set(listed.get(token.split("_")[1], ()))


def banner(port: int, run: Run, *, ends: str, metrics_port: str = "") -> str:
    """Return the text to print when the service is up. The features bring the commands."""
    url = f"http://127.0.0.1:{port}"
    token = working_token(port, run)
    commands = run(["commands", "--url", url, "--token", token])
    lines = "".join(f"  {line}\n" for line in commands.splitlines())
    to_try = f"To try in another terminal:\n\n{lines}\n" if lines else ""
    metrics = f"\n  metrics  http://127.0.0.1:{metrics_port}/metrics" if metrics_port else ""
    return f"""
Drydock is up.

  address  {url}
  docs     {url}/docs{metrics}
  token    {token}

{to_try}{ends}
"""
