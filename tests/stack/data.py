"""The data of a stack, seen through its API, through psql and through redis-cli."""

import httpx

from tests.stack.stack import Stack

# The server itself dies, as from the kernel's OOM killer. Docker starts the container again.
KILL = 'kill -KILL "$(head -n 1 "$PGDATA/postmaster.pid")"'


def make_token(api: httpx.Client, name: str) -> None:
    wanted = {"name": name, "scopes": ["tokens:write"]}
    assert api.post("/api/v1/tokens", json=wanted).status_code == 201


def stored(api: httpx.Client) -> dict[str, str]:
    """Return the name of each token by its id."""
    tokens = api.get("/api/v1/tokens", params={"limit": 100}).json()["items"]
    return {token["id"]: token["name"] for token in tokens}


def sql(stack: Stack, query: str) -> list[str]:
    """Run a query as the superuser; return the lines of its result."""
    command = ["psql", "-U", "drydock", "-d", "drydock", "-Atq", "-c", query]
    return stack.run_in("db", *command).splitlines()


def databases(stack: Stack) -> list[str]:
    return sql(stack, "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")


def kill_postgres(stack: Stack) -> None:
    stack.run_in("db", "sh", "-c", KILL)


def redis(stack: Stack, command: str) -> str:
    password = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)"'
    return stack.run_in("redis", "sh", "-c", f"{password} redis-cli {command}")
