"""What `make dev` prints when the service is up: a token that works, and commands to try."""

import http.client
import subprocess
import sys
from collections.abc import Mapping

from dev.clone import TOKEN
from dev.errors import DevError
from dev.files import ROOT, write_private
from dev.guardian import finish, spawn
from dev.processes import Patience


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


def run_app(words: list[str], environment: Mapping[str, str], patience: Patience) -> str:
    """Run `python -m app …` and return what it prints."""
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


def working_token(environment: Mapping[str, str], patience: Patience) -> str:
    """Return the token in .local/token, or a new one if the service refuses that one.

    It refuses a token of another database, and one that was revoked or has expired.
    """
    if TOKEN.exists():
        token = TOKEN.read_text(encoding="utf-8").strip()
        status, _ = ask(int(environment["PORT"]), "/api/v1/tokens", token)
        if status != http.HTTPStatus.UNAUTHORIZED:
            return token
    words = ["token", "create", "--name", "dev", "--all-scopes"]
    token = run_app(words, environment, patience)
    write_private(TOKEN, token + "\n")
    return token


def banner(environment: Mapping[str, str], patience: Patience) -> str:
    """Return the text to print when the service is up. The features bring the commands."""
    url = f"http://127.0.0.1:{environment['PORT']}"
    token = working_token(environment, patience)
    commands = run_app(["commands", "--url", url, "--token", token], environment, patience)
    lines = "".join(f"  {line}\n" for line in commands.splitlines())
    to_try = f"To try in another terminal:\n\n{lines}\n" if lines else ""
    return f"""
Drydock is up.

  address  {url}
  docs     {url}/docs
  metrics  http://127.0.0.1:{environment["METRICS_PORT"]}/metrics
  token    {token}

{to_try}Ctrl-C stops everything; data stays in .local/
"""
