"""What `make dev` without Docker promises, piece by piece."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from dev import accounts, environment, install, ports
from dev.accounts import Account
from dev.errors import DevError, Interrupted
from dev.files import ROOT
from dev.processes import running
from dev.redis import as_admin
from dev.servers import scratch_folder, start_redis
from dev.terminal import Interrupts
from tests.polling import until

LAUNCHER = """\
import sys, time
from pathlib import Path
from dev.servers import start_redis
print(start_redis(Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


class TestServers:
    """A server dies with its launcher, and has the settings of production."""

    def test_sigkill_of_the_launcher_leaves_nothing(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", LAUNCHER, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as launcher:
            assert launcher.stdout is not None
            server = int(launcher.stdout.readline())
            launcher.kill()
        until(lambda: not running([server]))

    def test_redis_has_the_settings_of_production(self) -> None:
        wanted = {"appendfsync": "always", "maxmemory-policy": "volatile-ttl", "save": ""}
        with (
            scratch_folder() as folder,
            start_redis(folder / "with a space") as server,
            Redis.from_url(as_admin(server.url), decode_responses=True) as redis,
        ):
            assert {**redis.config_get(*wanted)} == wanted


class TestHome:
    """As root, Postgres keeps its data where `nobody` can reach it, and the clone finds it."""

    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accounts, "PLACES", (tmp_path,))

    def test_outside_of_a_closed_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "root" / "postgres"
        folder.mkdir(parents=True)
        folder.parent.chmod(0o700)
        somebody = Account(os.getuid(), os.getgid())
        assert accounts.home_of(folder, None) == folder
        home = accounts.home_of(folder, somebody)
        assert home.parent == tmp_path
        assert accounts.home_of(folder, somebody) == home
        assert accounts.orphans() == {}
        folder.rename(folder.with_name("moved"))
        assert accounts.orphans() == {home: str(folder)}
        accounts.discard(folder)
        assert not home.exists()


class TestPorts:
    """A port is free, is the one asked for, or an error says why not."""

    def claim(self, **given: str) -> int:
        with ExitStack() as held:
            return ports.claim("PORT", given, held, lambda _: None)

    @pytest.mark.parametrize("asked", ["0", "70000", "eighty"])
    def test_no_port(self, asked: str) -> None:
        with pytest.raises(DevError, match="is not a port"):
            self.claim(PORT=asked)

    def test_one_for_root_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_port: int) -> bool:
            raise PermissionError

        monkeypatch.setattr(ports, "is_taken", refuse)
        with pytest.raises(DevError, match="PORT=80 is for root alone"):
            self.claim(PORT="80")
        with ExitStack() as held:
            assert ports.claim("PORT", {"PORT": "80"}, held, lambda _: None, by_engine=True) == 80

    def test_two_launchers_at_once(self, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
        monkeypatch.setitem(ports.DEFAULTS, "PORT", taken)
        with ExitStack() as held:
            first = ports.claim("PORT", {}, held, lambda _: None)
            assert ports.claim("PORT", {}, held, lambda _: None) > first


class TestEnvironment:
    """The shell's variables win over .env, an empty one counts as not given."""

    def test_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(environment, "DOTENV", tmp_path / ".env")
        (tmp_path / ".env").write_text("\ufeffAA=1\nBB=${AA}2\nCC=3\nDD=\n")
        monkeypatch.setenv("CC", "4")
        given = environment.given_environment()
        assert [given.get(name) for name in ("AA", "BB", "CC", "DD")] == ["1", "12", "4", None]

    def test_one_that_is_not_utf_8(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(environment, "DOTENV", tmp_path / ".env")
        (tmp_path / ".env").write_bytes(b"AA=1\nBB=gr\xf6\xdfer\n")
        with pytest.raises(DevError, match="not UTF-8 in line 2"):
            environment.given_environment()


class TestVenv:
    """.venv is refreshed for another lock, and made anew where that would not do."""

    def test_reasons(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        digest, python, folder = install.wanted()
        monkeypatch.setattr(install, "STAMP", tmp_path / "stamp")
        stamps = {
            (digest, python, folder): None,
            ("another lock", python, folder): None,
            (install.UNFINISHED,): "the last install did not finish",
            (digest, "3.9 /usr/bin/python3.9", folder): "it has another Python than this",
            (digest, python, "/elsewhere"): "the clone was moved or copied",
        }
        for lines, reason in stamps.items():
            (tmp_path / "stamp").write_text("\n".join(lines))
            assert (install.reason_to_rebuild() or "").startswith(reason or ""), lines
            assert (install.reason_to_rebuild() is None) == (reason is None), lines

    def test_a_python_that_can_not_be_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "python").touch(mode=0o644)
        monkeypatch.setattr(install, "PYTHON", tmp_path / "python")
        assert not install.is_current()
        assert install.reason_to_rebuild() == "its Python is gone, or closed to this user"

    def test_a_link_to_another_clone_s_is_current(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".venv").symlink_to(install.VENV)
        before = install.wanted()
        monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
        assert install.wanted() == before


class TestInterrupts:
    """The first Ctrl-C asks to stop, once; the second says that it is over."""

    def test_it(self) -> None:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(Interrupted):
                interrupts.pause(5)
            interrupts.pause(0)
            assert not interrupts.is_over()
            os.kill(os.getpid(), signal.SIGTERM)
            interrupts.pause(0)
            assert interrupts.is_over()
