"""Runs a workflow of a copy of the repository with act, against our own registry.

Stubs replace what needs GitHub: artifact store, signing, attesting, code scanning and login. All
other steps are those of the workflow.
"""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from template import ROOT

STUBS = Path(__file__).parent / "stubs"
# The variables that a step needs to reach Docker and the package index.
KEPT = ("SSL_", "PIP_", "UV_", "NPM_", "REQUESTS_", "DOCKER_", "HTTP", "NO_PROXY")
MINUTES = 14


@dataclass
class Run:
    """The result of a workflow: of each job, and all printed lines."""

    code: int
    jobs: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str, str]] = field(default_factory=list)
    output: str = ""

    def failed_steps(self) -> list[str]:
        return [step for _, step, result in self.steps if result == "failure"]


@contextmanager
def owned_by_runner(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the folder to an account that may only use Docker; yield the options that become it.

    Only root can do this. Everybody else is such an account already.
    """
    (folder / "home").mkdir(exist_ok=True)
    if os.geteuid():
        yield {}
        return
    account = pwd.getpwnam("nobody")
    owner = f"{account.pw_uid}:{account.pw_gid}"
    subprocess.run(["chown", "--recursive", owner, str(folder)], check=True)
    docker = Path("/var/run/docker.sock").stat().st_gid
    yield {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [docker]}
    subprocess.run(["chown", "--recursive", "0:0", str(folder)], check=True)


def open_to_all(folder: str) -> bool:
    """Whether a runner could have this folder on PATH: not root's, and not our own packages."""
    path = Path(folder).absolute()
    mine = path.is_relative_to(ROOT)
    return not mine and all(
        part.exists() and part.stat().st_mode & 1 for part in (path, *path.parents)
    )


def used_actions(workflow: Path) -> set[str]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return {step["uses"] for job in jobs for step in job["steps"] if "uses" in step}


def stub_of(action: str) -> Path:
    owner, name, *_ = action.partition("@")[0].split("/")
    return STUBS / owner / name


def run_workflow(
    copy: Path,
    name: str,
    *,
    event: str = "push",
    payload: Mapping[str, Any],
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    matrix: Mapping[str, str],
    programs: Path,
) -> Run:
    """Run a workflow of a clone on a machine without GitHub; never raises for a red one.

    `programs` is a folder that comes first on PATH. As on GitHub, the steps run without root's
    rights, and with a home of their own. All files are in the folder above the clone's.
    """
    workflow = copy / ".github/workflows" / name
    (copy.parent / "event.json").write_text(json.dumps(payload))
    stubs = {
        f"{'/'.join(action.split('/')[:2]).partition('@')[0]}@{action.partition('@')[2]}": stub
        for action in used_actions(workflow)
        if (stub := stub_of(action)).is_dir()
    }
    options: list[str] = ["--eventpath", str(copy.parent / "event.json"), "--json"]
    for label in ("ubuntu-24.04", "ubuntu-24.04-arm"):
        options += ["--platform", f"{label}=-self-hosted"]
    for reference, stub in stubs.items():
        options += ["--local-repository", f"{reference}={stub}"]
    for flag, values in (("--var", variables), ("--env", {**environment, "STUBS": str(STUBS)})):
        options += [word for key, value in values.items() for word in (flag, f"{key}={value}")]
    options += [word for key, value in matrix.items() for word in ("--matrix", f"{key}:{value}")]
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    open_path = os.pathsep.join(filter(open_to_all, os.environ["PATH"].split(os.pathsep)))
    # The real setup-python puts a Python first too.
    (programs / "python3").unlink(missing_ok=True)
    (programs / "python3").symlink_to(str(shutil.which("python3", path=open_path)))
    path = f"{programs}{os.pathsep}{open_path}"
    with owned_by_runner(copy.parent) as account:
        done = subprocess.run(
            [
                *(
                    str(shutil.which("act")),
                    event,
                    "--workflows",
                    str(workflow),
                    "--secret",
                    "GITHUB_TOKEN=none",
                ),
                *("--action-offline-mode", "--pull=false", "--no-cache-server", *options),
                # All jobs are on one machine here, and would take each other's port.
                *("--concurrent-jobs", "1"),
            ],
            cwd=copy,
            env=kept | {"PATH": path, "HOME": str(copy.parent / "home")},
            **account,
            capture_output=True,
            text=True,
            check=False,
            timeout=MINUTES * 60,
        )
    return parse(done.returncode, done.stdout + done.stderr)


def parse(code: int, printed: str) -> Run:
    run = Run(code)
    lines = []
    for line in printed.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        job = entry.get("jobID", "")
        lines.append(f"{job}: {entry.get('msg', '').rstrip()}")
        if "jobResult" in entry:
            run.jobs[job] = entry["jobResult"]
        if "stepResult" in entry:
            run.steps.append((job, entry.get("step", ""), entry["stepResult"]))
    run.output = "\n".join(lines)
    return run
