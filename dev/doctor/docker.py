"""Checks of the Docker Engine, and of this clone's stack in it."""

import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.doctor.findings import Findings, Machine, bad, lacking, note, ok, versions
from dev.files import ROOT
from dev.stack import NAME, NAME_OF_ALL, SECONDS, VARIABLES, owner_of

READ, ENTER = stat.S_IROTH, stat.S_IXOTH
INSTALL = "https://docs.docker.com/engine/install/"


def check_docker(machine: Machine) -> Findings:
    """Whether an Engine answers, and whether it and Compose are new enough."""
    found, faults = versions(machine.engine), lacking(machine.engine)
    if not faults and machine.config:
        yield ok("Docker", ", ".join(f"{name} {version}" for name, version in found.items()))
        return
    says, remedy = "; ".join(faults), INSTALL
    if not found["Engine"] or not faults:
        says, remedy = explain(machine.engine["Fault"])
    tell = bad if machine.runtime == "docker" else note
    yield tell("Docker", says, f"{remedy}\nor run without Docker: make dev RUNTIME=embedded")


def explain(fault: str) -> tuple[str, str]:
    """Return why Docker can't be used, and what to do."""
    if "not installed" in fault:
        return "it is not installed", INSTALL
    if "permission denied" in fault.lower():
        return (
            "its socket is closed to this user",
            f"sudo usermod -aG docker {os.environ.get('USER', '$USER')}, then log in again",
        )
    if where := os.environ.get("DOCKER_HOST"):
        return f"nothing answers at DOCKER_HOST={where}", "start it there, or: unset DOCKER_HOST"
    return (
        f"it can't be used: {fault.splitlines()[0][:200]}",
        "start it (sudo systemctl start docker, or Docker Desktop), or repair what this names",
    )


def check_name(machine: Machine) -> Findings:
    """Whether another clone, or production, has the compose project name of this clone."""
    if not machine.uses_docker:
        return
    name = machine.config["name"]
    chosen = next((one for one in (NAME_OF_ALL, NAME) if one in machine.environment), None)
    if owner := owner_of(name, machine.containers):
        says = f"{name} is {owner}: `docker compose up` here would replace its containers"
        if chosen:
            yield bad("stack", says, f"choose another {chosen}: you set this one yourself")
        else:
            yield note(
                "stack", says, "make dev gives this clone another name, and writes it to .env"
            )
    elif chosen == NAME_OF_ALL:
        yield note(
            "stack",
            f"{NAME_OF_ALL} gives this clone's development and production the same name, {name}",
            f"use {NAME} and PRODUCTION_PROJECT in its place",
        )
    else:
        yield ok("stack", f"{name} belongs to this clone")


def check_files(machine: Machine) -> Findings:
    """Whether the containers' users can read what Compose mounts from deploy/."""
    if not machine.uses_docker:
        return
    mounted = [path for path in mounts(machine.config) if path.exists()]
    if closed := [str(path) for path in mounted if not is_readable(path)]:
        yield bad(
            "files",
            f"the containers' users can't read {', '.join(closed)} (cloned under a strict umask?)",
            "deploy/open-files",
        )
    elif mounted:
        yield ok("files", "the containers' users can read the mounted files")


def mounts(config: Mapping[str, Any]) -> list[Path]:
    """Return the files and folders of deploy/ that Compose mounts. Others may be secret."""
    entries = [*config.get("configs", {}).values(), *config.get("secrets", {}).values()]
    files = [entry["file"] for entry in entries if "file" in entry]
    volumes = [one for service in config["services"].values() for one in service.get("volumes", ())]
    binds = [one["source"] for one in volumes if one["type"] == "bind"]
    mounted = {Path(path).resolve() for path in (*files, *binds)}
    return sorted(path for path in mounted if path.is_relative_to(ROOT / "deploy"))


def is_readable(path: Path) -> bool:
    """Whether every account can read a file, or all of a folder."""
    found = [path, *path.rglob("*")]
    needed = {one: READ | ENTER if one.is_dir() else READ for one in found}
    return all(one.stat().st_mode & bits == bits for one, bits in needed.items())


def check_password(machine: Machine) -> Findings:
    """Whether the development database of this clone accepts the password in its secret file."""
    if not machine.uses_docker:
        return
    name, secret = machine.config["name"], machine.config["secrets"]["database_password"]["file"]
    own = [found for found in machine.containers if found.project == name and found.is_ours]
    if not any("POSTGRES_PORT" in map(VARIABLES.get, found.published) for found in own):
        yield note("password", "not checked: the development database does not run")
        return
    # The password goes through standard input: other users could read an argument or a variable.
    login = (
        "read -r PGPASSWORD; export PGPASSWORD; "
        'psql -h 127.0.0.1 -U "${POSTGRES_USER}_app" -d "$POSTGRES_DB" -c "select 1"'
    )
    command = ["docker", "compose", "exec", "-T", "db", "sh", "-c", login]
    text = Path(secret).read_text(encoding="utf-8").strip() + "\n"
    try:
        errors = subprocess.run(
            command,
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            input=text,
            timeout=SECONDS,
        ).stderr
    except subprocess.TimeoutExpired:
        errors = f"no answer within {SECONDS} s"
    if "password authentication failed" in errors:
        yield bad(
            "password",
            f"the database of {name} has another password than {secret} has now",
            "give the database the password in that file:\ndocker compose run --rm --no-deps roles",
        )
    elif errors:
        yield note("password", f"the database says: {errors.strip()}", "docker compose logs db")
    else:
        yield ok("password", f"the volume {name}_db accepts the one in {secret}")


CHECKS = (check_docker, check_name, check_files, check_password)
