"""What a spoilt clone is told, and that the remedy, pasted, mends it."""

from pathlib import Path

import pytest

from app.config import EXAMPLE_SECRETS, SHORTEST_SECRET
from dev.doctor import checkout
from dev.doctor.findings import State, bad, ok
from tests.dev.doctor.conftest import LOCK, PYPROJECT, MakeMachine, only, shell, worst


class TestLineEnds:
    """CRLF in a file is found, and the remedy writes it anew."""

    def test_remedy(self, clone: Path, machine: MakeMachine) -> None:
        assert only(checkout.check_line_ends, machine()) == ok("line ends", "LF in all of 7 files")
        (clone / "deploy/build").write_bytes(b"#!/bin/sh\r\necho built\r\n")
        found = only(checkout.check_line_ends, machine())
        assert (found.state, found.says) == (State.BAD, "CRLF in deploy/build")
        shell(clone, found.remedy.partition(": ")[2])
        assert only(checkout.check_line_ends, machine()).state is State.OK
        assert (clone / "deploy/build").read_bytes() == b"#!/bin/sh\necho built\n"

    def test_many_files_are_counted(self, clone: Path, machine: MakeMachine) -> None:
        for path in [path for path in clone.glob("*[el]*") if path.is_file()]:
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert only(checkout.check_line_ends, machine()).says.endswith("and 3 more")

    def test_without_a_repository(
        self, clone: Path, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        assert only(checkout.check_line_ends, machine()).state is State.NOTE
        assert list(checkout.check_modes(machine())) == []


class TestModes:
    """A script that lost its bit is found, and the remedy gives it back."""

    def test_remedy(self, clone: Path, machine: MakeMachine) -> None:
        assert only(checkout.check_modes, machine()).state is State.OK
        (clone / "deploy/build").chmod(0o644)
        found = only(checkout.check_modes, machine())
        assert found == bad("scripts", "can't be run: deploy/build", "chmod +x deploy/build")
        shell(clone, found.remedy)
        assert only(checkout.check_modes, machine()).state is State.OK


class TestLocks:
    """A lock that is not that of pyproject.toml is found, whichever of the two was changed."""

    def test_a_current_one(self, machine: MakeMachine) -> None:
        assert only(checkout.check_locks, machine()) == ok("lock", "that of pyproject.toml")

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ('["fastapi>=0.165"]', '["fastapi>=0.165", "saq"]', "requirements.txt lacks saq"),
            ('["ruff>=0.17"]', '["ruff>=0.17", "uv"]', "requirements-dev.txt lacks uv"),
            ("fastapi>=0.165", "fastapi[x]>=0.165.1", "fastapi 0.165.0, wanted is fastapi[x]>=0.1"),
            ('["fastapi>=0.165"]', "[]", "requirements.txt has fastapi for drydock"),
        ],
    )
    def test_a_stale_one(
        self, clone: Path, machine: MakeMachine, old: str, new: str, says: str
    ) -> None:
        (clone / "pyproject.toml").write_text(PYPROJECT.replace(old, new))
        found = only(checkout.check_locks, machine())
        assert (found.state, found.remedy) == (State.BAD, "make lock")
        assert says in found.says

    def test_a_missing_one(self, clone: Path, machine: MakeMachine) -> None:
        (clone / "requirements.txt").unlink()
        assert only(checkout.check_locks, machine()).state is State.BAD

    def test_a_newer_version_is_fine(self, clone: Path, machine: MakeMachine) -> None:
        (clone / "requirements.txt").write_text(LOCK.replace("0.165.0", "1.0b1"))
        assert only(checkout.check_locks, machine()).state is State.OK


class TestPackages:
    """Whether .venv is that of the lock, and that nothing has to be done about it."""

    def test_ours_is(self, machine: MakeMachine) -> None:
        assert only(checkout.check_environment, machine()).state is State.OK

    @pytest.mark.parametrize(("stamped", "says"), [(True, "another lock"), (False, "no .venv yet")])
    def test_another(
        self,
        clone: Path,
        machine: MakeMachine,
        monkeypatch: pytest.MonkeyPatch,
        stamped: bool,  # noqa: FBT001 - a parameter of the test
        says: str,
    ) -> None:
        monkeypatch.setattr(checkout, "is_current", lambda: False)
        monkeypatch.setattr(checkout, "STAMP", clone / ".stamp")
        if stamped:
            (clone / ".stamp").touch()
        found = only(checkout.check_environment, machine())
        assert found.state is State.NOTE
        assert says in found.says

    def test_a_missing_lock(
        self, clone: Path, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lost = clone / "requirements-dev.txt"
        monkeypatch.setattr(checkout, "REQUIREMENTS", lost)
        lost.unlink()
        found = only(checkout.check_environment, machine())
        assert found.state is State.BAD
        shell(clone, found.remedy)
        assert only(checkout.check_environment, machine()).state is State.OK


class TestSettings:
    """.env: what nobody reads, what must not be published, what production would refuse."""

    def test_none(self, machine: MakeMachine) -> None:
        assert only(checkout.check_settings, machine()).state is State.OK

    def test_what_is_explained_is_known(self, clone: Path, machine: MakeMachine) -> None:
        (clone / ".env").write_text("PORT=8001\nAPP_IMAGE=x\nCOMPOSE_PROJECT_NAME=y\n")
        assert only(checkout.check_settings, machine()) == ok(".env", "read, 3 values")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("DATABSE_POOL_SIZE", "did you mean DATABASE_POOL_SIZE?"), ("XYZ", "see .env.example")],
    )
    def test_what_nobody_reads(
        self, clone: Path, machine: MakeMachine, name: str, hint: str
    ) -> None:
        (clone / ".env").write_text(f"{name}=1\n")
        found = worst(checkout.check_settings, machine())
        assert (found.state, found.says) == (State.NOTE, f"nothing here reads {name}")
        assert hint in found.remedy

    def test_a_tracked_one(self, clone: Path, machine: MakeMachine) -> None:
        (clone / ".env").write_text("PORT=1\n")
        shell(clone, "git add --force .env")
        found = worst(checkout.check_settings, machine())
        assert found.state is State.BAD
        shell(clone, found.remedy)
        assert worst(checkout.check_settings, machine()).state is State.OK

    def test_an_example_password_in_production(self, clone: Path, machine: MakeMachine) -> None:
        (clone / ".env").write_text("DATABASE_PASSWORD=changeme\n")
        assert worst(checkout.check_settings, machine()).state is State.OK
        (clone / ".env").write_text("ENVIRONMENT=production\nDATABASE_PASSWORD=changeme\n")
        found = worst(checkout.check_settings, machine())
        assert found.state is State.BAD
        assert "DATABASE_PASSWORD is an example value" in found.says


class TestSecrets:
    """Secret files that production would refuse, or that others can read."""

    def test_none(self, machine: MakeMachine) -> None:
        assert list(checkout.check_secrets(machine())) == []

    def test_remedies(self, clone: Path, machine: MakeMachine) -> None:
        folder = clone / "secrets"
        folder.mkdir(mode=0o755)
        (folder / "redis_password").write_text("short\n")
        short, open_to_all = checkout.check_secrets(machine())
        assert short.says == "redis_password is shorter than 16 characters"
        assert (short.state, open_to_all.state) == (State.BAD, State.BAD)
        shell(clone, open_to_all.remedy)
        (folder / "redis_password").write_text("x" * 16)
        assert only(checkout.check_secrets, machine()).state is State.OK

    def test_another_folder(self, tmp_path: Path, machine: MakeMachine) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        (elsewhere / "database_password").write_text("changethis")
        found = only(checkout.check_secrets, machine(SECRETS_DIR=str(elsewhere)))
        assert found.says == "database_password is an example value"

    def test_a_closed_folder(
        self, clone: Path, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (clone / "secrets").mkdir()

        def refuse(_folder: Path) -> None:  # as for whoever is not root
            raise PermissionError

        monkeypatch.setattr(Path, "iterdir", refuse)
        assert only(checkout.check_secrets, machine()).remedy == "sudo make doctor"

    @pytest.mark.parametrize("value", [*sorted(EXAMPLE_SECRETS), "Change-This-To-Something-Long"])
    def test_the_service_and_we_know_the_same_examples(self, value: str) -> None:
        assert checkout.fault_of_secret(value) == "is an example value"
        assert checkout.SHORTEST_SECRET == SHORTEST_SECRET
