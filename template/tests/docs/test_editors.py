"""The configurations of editors and git hooks match the repository."""

import json
import re
from typing import Any

import yaml

from template import ROOT


def read_json(name: str) -> Any:
    """Read JSON with comments, each on its own line."""
    return json.loads(re.sub(r"^\s*//.*$", "", (ROOT / name).read_text(), flags=re.MULTILINE))


def read_yaml(name: str) -> Any:
    return yaml.safe_load(re.sub(r"!override", "", (ROOT / name).read_text()))


class TestHooks:
    """The git hook runs what CI runs."""

    def test_the_hook_is_make_lint(self) -> None:
        [repository] = read_yaml(".pre-commit-config.yaml")["repos"]
        assert repository["repo"] == "local"  # nothing is fetched
        [hook] = repository["hooks"]
        assert (hook["entry"], hook["language"]) == ("make lint", "system")
        assert hook["pass_filenames"] is False


class TestLaunch:
    """The debugger's paths and ports match those of the containers."""

    def test_attaching_fits_compose(self) -> None:
        attach = [
            entry
            for entry in read_json(".vscode/launch.json")["configurations"]
            if entry["request"] == "attach"
        ]
        development = read_yaml("compose.override.yaml")
        assert development["x-dev"]["volumes"] == [".:/srv"]
        for entry in attach:
            assert entry["connect"]["port"] == 5678
            [mapping] = entry["pathMappings"]
            assert mapping == {"localRoot": "${workspaceFolder}", "remoteRoot": "/srv"}
        assert any(
            "DEBUGGER_PORT:-5678" in port for port in development["services"]["app"]["ports"]
        )
        assert {entry["connect"]["host"] for entry in attach} == {"127.0.0.1", "app"}

    def test_every_task_is_a_target(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        for task in read_json(".vscode/tasks.json")["tasks"]:
            assert f"\n{task['command'].removeprefix('make ')}: " in makefile


class TestDevContainer:
    """The workspace uses the networks and passwords of the stack."""

    def test_its_files_and_services_exist(self) -> None:
        container = read_json(".devcontainer/devcontainer.json")
        folder = ROOT / ".devcontainer"
        files = [(folder / name).resolve() for name in container["dockerComposeFile"]]
        assert files[:2] == [ROOT / "compose.yaml", ROOT / "compose.override.yaml"]
        services = {name for file in files for name in read_yaml(str(file))["services"]}
        assert {container["service"], *container["runServices"]} <= services

    def test_it_knows_the_passwords_of_development(self) -> None:
        workspace = read_yaml(".devcontainer/compose.yaml")["services"]["workspace"]
        for name, variable in (("database", "DATABASE_URL"), ("redis", "REDIS_URL")):
            password = (ROOT / "deploy" / "development" / f"{name}_password").read_text()
            assert f":{password}@" in workspace["environment"][variable]

    def test_the_same_extensions_as_outside(self) -> None:
        container = read_json(".devcontainer/devcontainer.json")["customizations"]["vscode"]
        assert container["extensions"] == read_json(".vscode/extensions.json")["recommendations"]
