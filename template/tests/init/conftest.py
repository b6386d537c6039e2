"""A small repository that looks like this one, for init to change."""

import subprocess
from pathlib import Path

import pytest

import template.init.__main__ as command

FILES = {
    "pyproject.toml": '[project]\nname = "drydock"\ndependencies = ["fastapi[all]>=1"]\n',
    "app/main.py": 'TITLE = "Drydock"\nTOKEN = "drydock_"\n',
    "app/features/links/models.py": "\n",
    "app/registry.py": "a = 1\nb = 2  # sample\nc = 3  # template\n",
    "compose.yaml": "name: drydock\r\nimage: DRYDOCK\r\n",
    "deploy/run": "#!/bin/sh\n# Drydock's\n",
    "docs/links.md": "# Links\n",
    "docs/people.md": "<!-- begin template -->\nFor those who clone.\n<!-- end template -->\n",
    "README.md": "# Drydock\n\nmake init NAME=seamark\n",
    "template/__init__.py": "",
    "template/clone/README.md": "# Drydock\n\nIt does this.\nIt shortens. <!-- sample -->\n",
    ".gitignore": ".venv/\n.local/\n",
}


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    command = ["git", "-C", str(root), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "clone"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    (root / "deploy/run").chmod(0o755)
    (root / "logo.png").write_bytes(b"\x89PNG\0drydock")
    (root / "link").symlink_to("compose.yaml")
    git(tmp_path, "init", "--quiet", str(root))
    save(root)
    monkeypatch.setattr(command, "ROOT", root)
    # It needs a .venv: template/checks/init looks at that.
    monkeypatch.setattr(command, "reformat", lambda _root: None)
    return root


def save(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "as it is")
