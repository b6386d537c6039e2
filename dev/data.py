"""`make clean-data`: removes the development data of this clone, embedded and in containers."""

import shutil
import subprocess
import sys

from dev.accounts import discard
from dev.clone import own
from dev.errors import DevError
from dev.files import LOCAL, ROOT
from dev.stack import (
    NAME_OF_ALL,
    claim_volume,
    compose_config,
    compose_containers,
    docker,
    owner_of,
    production_name,
)
from dev.terminal import Interrupts, say


def remove_data(*, sure: bool) -> int:
    """Name what goes, ask, then remove it. Embedded servers that run are an error."""
    name, volumes = stack_data()
    doomed = [f"{LOCAL}: databases, token and logs"] if LOCAL.exists() else []
    if volumes:
        doomed.append(f"the containers of {name}, and its volumes {', '.join(volumes)}")
    if not doomed:
        say("there is no development data")
        return 0
    for line in ("This deletes for good:", *doomed):
        say(line)
    if not sure and not is_confirmed():
        say("nothing was removed")
        return 1
    if LOCAL.exists():
        with Interrupts() as interrupts, own("dev remove-data", interrupts):
            discard(LOCAL / "postgres")
            shutil.rmtree(LOCAL)
    if volumes:
        down = ["docker", "compose", "--profile", "*", "down", "--volumes"]
        subprocess.run(down, cwd=ROOT, check=True)
        docker("volume", "rm", "--force", claim_volume(name))
    return 0


def is_confirmed() -> bool:
    if not sys.stdin.isatty():
        raise DevError(
            "This needs a terminal, to ask before it removes all data. Without one: YES=1"
        )
    return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}


def stack_data() -> tuple[str, list[str]]:
    """Return the name of this clone's compose stack, and those of its volumes that exist."""
    if not shutil.which("docker"):
        return "", []
    try:
        config = compose_config()
        name = config["name"]
        owner = owner_of(name, compose_containers())
        if name == production_name():
            owner = owner or f"also the name of production: see {NAME_OF_ALL} in .env"
        listed = docker("volume", "ls", "--format", "{{.Name}}").splitlines()
    except DevError as error:
        say(f"Data in containers stays: {error}")
        return "", []
    if owner:
        say(f"Data in containers stays: {name} is {owner}")
        return name, []
    own = [volume["name"] for volume in config["volumes"].values() if not volume.get("external")]
    return name, sorted(set(own) & set(listed))
