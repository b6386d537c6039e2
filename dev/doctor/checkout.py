"""What lies in the clone: line ends, the lock files, .env, secrets."""

import difflib
import os
import re
import subprocess
from pathlib import Path

from dev import locks
from dev.doctor.findings import Findings, Machine, bad, note, ok
from dev.environment import read_dotenv
from dev.locks import read_text
from dev.stamp import REQUIREMENTS, STAMP, is_current

# As app/config.py, which can't be imported before the packages are there; a test compares them.
EXAMPLE_SECRETS = re.compile(
    "change.*|drydock|example|password|postgres|secret", re.IGNORECASE | re.DOTALL
)
SHORTEST_SECRET = 16

REQUIRED_AT_LEAST = re.compile(r"([A-Za-z0-9._-]+)(?:\[.*?\])?>=([\w.]+)")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([\w.]+)", re.MULTILINE)
# NAME=… in .env.example, commented out or not, and ${NAME…} in compose's files.
EXPLAINED = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=|\$\{([A-Z][A-Z0-9_]*)", re.MULTILINE)


def git(root: Path, *words: str) -> list[str] | None:
    """Return what git lists; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", root, *words], check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.splitlines()


def check_line_ends(machine: Machine) -> Findings:
    """Whether an editor, or git on Windows, gave files line ends that shells trip over."""
    listed = git(machine.root, "ls-files", "--eol")
    if listed is None:
        yield note("line ends", "not looked at: this is no git repository, or git is missing")
        return
    # i/lf    w/crlf  attr/text=auto eol=lf 	deploy/build
    rows = [line.partition("\t") for line in listed]
    spoilt = [name for head, _, name in rows if re.search(r"w/(crlf|mixed).* eol=lf", head)]
    if spoilt:
        yield bad(
            "line ends",
            f"CRLF in {named(spoilt)}",
            "commit your work, then write the files anew: git checkout-index --force --all",
        )
    else:
        yield ok("line ends", f"LF in all of {len(rows)} files")


def check_modes(machine: Machine) -> Findings:
    """Whether scripts can still be run: a copy through Windows or a zip file drops the bit."""
    listed = git(machine.root, "ls-files", "--stage") or []
    scripts = [line.partition("\t")[2] for line in listed if line.startswith("100755")]
    closed = [
        name
        for name in scripts
        if (path := machine.root / name).is_file() and not os.access(path, os.X_OK)
    ]
    if closed:
        yield bad("scripts", f"can't be run: {named(closed)}", f"chmod +x {' '.join(closed)}")
    elif scripts:
        yield ok("scripts", f"all {len(scripts)} can be run")


def named(paths: list[str]) -> str:
    """Return the first few and how many more."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""  # noqa: PLR2004 - enough to see
    return ", ".join(paths[:3]) + more


def check_locks(machine: Machine) -> Findings:
    """Whether the lock files still are those of pyproject.toml."""
    described = (machine.root / "pyproject.toml").read_text(encoding="utf-8")
    faults = []
    for source, listed in locks.requested(described).items():
        lock = machine.root / (f"requirements-{source}.txt" if source else "requirements.txt")
        text = read_text(lock) or ""
        pinned = {locks.normal(name): version for name, version in PINNED.findall(text)}
        for requirement in listed:
            name, version = locks.normal(requirement), pinned.get(locks.normal(requirement))
            least = REQUIRED_AT_LEAST.match(requirement)
            if version is None:
                faults.append(f"{lock.name} lacks {name}")
            elif least and release(version) < release(least[2]):
                faults.append(f"{lock.name} has {name} {version}, wanted is {least[0]}")
        faults += [f"{lock.name} has {name}" for name in sorted(unwanted(text, described))]
    if faults:
        yield bad("lock", f"not that of pyproject.toml: {'; '.join(faults[:4])}", "make lock")
    else:
        yield ok("lock", "that of pyproject.toml")


def unwanted(text: str, described: str) -> set[str]:
    """Return what a lock file has for the project, which does not ask for it."""
    wanted = locks.wanted(described)
    _, entries = locks.read(text)
    asked = [(entry.name, reason) for entry in entries for reason in entry.via]
    return {
        f"{name} for {reason}"
        for name, reason in asked
        if "(pyproject.toml" in reason and name not in wanted.get(reason, set())
    }


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare: pre-releases count as what they become."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[a-z]", version)[0]))


def check_environment(_machine: Machine) -> Findings:
    """Whether .venv is what requirements-dev.txt says."""
    if not REQUIREMENTS.exists():
        yield bad(
            "packages", f"{REQUIREMENTS.name} is missing", f"git checkout {REQUIREMENTS.name}"
        )
    elif is_current():
        yield ok("packages", ".venv has what requirements-dev.txt lists")
    elif STAMP.exists():
        yield note("packages", ".venv is of another lock", "nothing to do: the next make renews it")
    else:
        yield note("packages", "there is no .venv yet", "nothing to do: the next make installs it")


def check_settings(machine: Machine) -> Findings:
    """Whether .env says something that nobody reads, or is about to be published."""
    path = machine.root / ".env"
    if not path.exists():
        yield ok(".env", "none: every setting has its default")
        return
    if git(machine.root, "ls-files", ".env"):
        yield bad(".env", "is tracked by git, and what is in it published", "git rm --cached .env")
    sources = (".env.example", "compose.yaml", "compose.override.yaml")
    texts = [read_text(machine.root / name) or "" for name in sources]
    known = {name for text in texts for found in EXPLAINED.findall(text) for name in found if name}
    # What Docker and Compose read for themselves.
    known |= {"COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "DOCKER_HOST", "RUNTIME"}
    values = read_dotenv(path)
    for name in sorted(values.keys() - known):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "remove it, or see .env.example"
        yield note(".env", f"nothing here reads {name}", hint)
    if values.get("ENVIRONMENT") == "production":
        for name, value in values.items():
            if name.endswith("PASSWORD") and (fault := fault_of_secret(value)):
                yield bad(".env", f"{name} {fault}, which production refuses", "make secrets")
    yield ok(".env", f"read, {len(values)} values")


def check_secrets(machine: Machine) -> Findings:
    """Whether the secret files would be accepted, and are closed to others."""
    folder = Path(machine.environment.get("SECRETS_DIR") or machine.root / "secrets")
    if not folder.is_dir():
        return  # production is not set up here
    try:
        files = {path.name: path.read_text(encoding="utf-8").strip() for path in folder.iterdir()}
    except PermissionError:
        yield bad("secrets", f"{folder} is closed to this user", "sudo make doctor")
        return
    found = {name: fault_of_secret(value) for name, value in files.items()}
    faults = [f"{name} {fault}" for name, fault in found.items() if fault]
    if faults:
        yield bad("secrets", "; ".join(faults), f"rm {folder}/<name>, then: make secrets")
    if folder.stat().st_mode & 0o077:
        yield bad("secrets", f"{folder} is open to other users", f"chmod 700 {folder}")
    if not faults:
        yield ok("secrets", f"{len(files)} files in {folder}")


def fault_of_secret(value: str) -> str | None:
    """Say why production would refuse it."""
    if EXAMPLE_SECRETS.fullmatch(value):
        return "is an example value"
    return f"is shorter than {SHORTEST_SECRET} characters" if len(value) < SHORTEST_SECRET else None
