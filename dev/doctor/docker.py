"""The Docker client, the Engine, and what of this clone is in it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.doctor.findings import Finding, Findings, Machine, bad, note, ok
from dev.stack import NAME, other_clone, project_name

SECONDS = 4  # for each question to Docker: an Engine that hangs must not hang us

# start_interval of health checks; !override in compose.override.yaml; --provenance of a build.
OLDEST = {"Engine": (25, 0), "Compose": (2, 24, 4), "Buildx": (0, 10)}

INSTALL = "https://docs.docker.com/engine/install/"
WITHOUT = "or do without: make dev RUNTIME=embedded needs no Docker"


def ask(*words: str, text: str = "") -> "subprocess.CompletedProcess[str] | None":
    """Run docker; None if it is not there, or does not answer in time."""
    try:
        return subprocess.run(
            ["docker", *words],
            check=False,
            capture_output=True,
            text=True,
            input=text,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def docker_info() -> Mapping[str, Any]:
    """Return what client and Engine say of themselves; empty without a client."""
    if shutil.which("docker") is None:
        return {}
    answer = ask("info", "--format", "{{json .}}")
    if answer is None:
        return {"Fault": f"no answer within {SECONDS} s"}
    try:
        found: dict[str, Any] = json.loads(answer.stdout)
    except ValueError:
        found = {}
    return found | {"Fault": answer.stderr.strip()}


def check_docker(machine: Machine) -> Findings:
    """Whether there is a client and an Engine that answers, and whether both are new enough."""
    # What is not needed for the way that `make dev` goes is told, and no fault.
    told = bad if machine.runtime == "docker" else note
    if not machine.docker:
        yield told("Docker", "is not installed", f"{INSTALL}\n{WITHOUT}")
        return
    if not machine.engine_answers:
        says, remedy = explain(str(machine.docker.get("Fault")))
        yield told("Docker", says, f"{remedy}\n{WITHOUT}")
        return
    client: Mapping[str, Any] = machine.docker.get("ClientInfo") or {}  # type: ignore[assignment]
    plugins = {plugin["Name"]: plugin["Version"] for plugin in client.get("Plugins") or ()}
    versions = {
        "Engine": str(machine.docker["ServerVersion"]),
        "Compose": plugins.get("compose"),
        "Buildx": plugins.get("buildx"),
    }
    faults = [
        f"{name} {'is missing' if found is None else f'{found} is too old'}, "
        f"{'.'.join(map(str, OLDEST[name]))} or newer is needed"
        for name, found in versions.items()
        if found is None or numbers(found) < OLDEST[name]
    ]
    if faults:
        yield told("Docker", "; ".join(faults), f"{INSTALL}\n{WITHOUT}")
    else:
        yield ok("Docker", ", ".join(f"{name} {found}" for name, found in versions.items()))


def explain(fault: str) -> tuple[str, str]:
    """Return why the Engine can't be used, and what to do."""
    if "permission denied" in fault.lower():
        return (
            "its socket is closed to this user",
            f"sudo usermod -aG docker {os.environ.get('USER', '$USER')}, then log in again",
        )
    where = os.environ.get("DOCKER_HOST")
    if where:
        return f"nothing answers at DOCKER_HOST={where}", "start it there, or: unset DOCKER_HOST"
    return (
        f"no Engine answers ({fault.splitlines()[-1][:100] if fault else 'it says nothing'})",
        "start it: sudo systemctl start docker, or open Docker Desktop",
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return a version to compare: v2.40.3-desktop is (2, 40, 3)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def check_project(machine: Machine) -> Findings:
    """Whether the compose project of this clone is its own."""
    if not machine.engine_answers:
        return
    name = project_name(machine.environment, machine.root)
    other = other_clone(name, machine.containers, machine.root)
    if other is None:
        yield ok("stack", f"{name} is this clone's")
        return
    remedy = "make dev gives this clone another name, and keeps it in .env"
    if NAME in machine.environment:
        remedy = f"choose another {NAME}: this one was set by hand"
    told = bad if NAME in machine.environment else note
    yield told(
        "stack",
        f"{name} is the stack of {other}: `docker compose up` here would take its containers over",
        remedy,
    )


def check_password(machine: Machine) -> Findings:
    """Whether the database's volume was made with the password that the secret has now."""
    if not machine.engine_answers:
        return
    name = project_name(machine.environment, machine.root)
    listed = ask("volume", "ls", "--quiet", "--filter", f"name=^{name}_db$")
    if listed is None or not listed.stdout.strip():
        return  # there is no volume that could differ
    what = "password"
    container = database_container(name)
    if container is None:
        yield from password_by_the_log(name)
        return
    identifier, secret = container
    if not secret.is_file():
        yield bad(what, f"{secret} is gone, and the database runs with it", "put it back")
        return
    # The password goes in by standard input: others could read an argument or a variable.
    login = (
        "read -r PGPASSWORD; export PGPASSWORD; "
        'psql -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "select 1"'
    )
    text = secret.read_text(encoding="utf-8").strip() + "\n"
    answer = ask("exec", "--interactive", identifier, "sh", "-c", login, text=text)
    if answer is not None and "password authentication failed" in answer.stderr:
        inside = f"docker exec -i {identifier} sh -c 'psql -U \"$POSTGRES_USER\"'"
        sql = "s/.*/ALTER ROLE CURRENT_USER PASSWORD '&'/"
        yield refused(name, f'sed "{sql}" {secret} | {inside}')
    elif answer is None or answer.returncode:
        yield note(what, "the database does not answer", f"docker compose -p {name} logs db")
    else:
        yield ok(what, f"the volume {name}_db takes the one in {secret}")


def database_container(name: str) -> tuple[str, Path] | None:
    """Return the running database of the project, and the file on the host with its password."""
    labels = [f"label=com.docker.compose.{key}" for key in (f"project={name}", "service=db")]
    found = ask("ps", "--quiet", "--filter", labels[0], "--filter", labels[1])
    identifier = found.stdout.strip().partition("\n")[0] if found else ""
    if not identifier:
        return None
    template = '{{range .Mounts}}{{if eq .Destination "/run/secrets/database_password"}}{{.Source}}'
    seen = ask("inspect", "--format", template + "{{end}}{{end}}", identifier)
    return (identifier, Path(seen.stdout.strip())) if seen and seen.stdout.strip() else None


def password_by_the_log(name: str) -> Findings:
    """Where no database runs to be asked: what the last migration said."""
    labels = [f"label=com.docker.compose.{key}" for key in (f"project={name}", "service=migrate")]
    found = ask("ps", "--all", "--quiet", "--filter", labels[0], "--filter", labels[1])
    identifier = found.stdout.strip().partition("\n")[0] if found else ""
    said = ask("logs", "--tail", "20", identifier) if identifier else None
    if said and "Postgres refuses the password" in said.stdout + said.stderr:
        yield refused(name, "start it, then make doctor again: docker compose up --detach db")
    else:
        yield note("password", f"the volume {name}_db can be asked only while its database runs")


def refused(name: str, how: str) -> Finding:
    """Return what is to be said of a wrong password, and how the database gets the new one."""
    return bad(
        "password",
        f"the volume {name}_db was made with another password than the secret has now",
        "put the old one back into the secret, or give the database the new one:\n"
        f"{how}\n"
        f"or, if its data may go: docker compose -p {name} down --volumes",
    )
