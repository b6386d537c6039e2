"""The production image, looked at from outside: what it is and what it holds."""

import re
import time
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.stack.images import ONE, Images
from tests.stack.source import copy_of_repository, run, time_of_commit

CANARY = "canary-3f1c8e0b"


class TestDigest:
    """Two builds of one commit are one image, even without a cache and under another umask."""

    @pytest.mark.timeout(400)
    def test_a_second_build(self, images: Images, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = copy_of_repository(tmp_path_factory.mktemp("other"), images.source)
        for path in other.rglob("*"):  # the first one is a checkout under umask 077
            path.chmod(0o777 if path.is_dir() or path.stat().st_mode & 0o100 else 0o666)
            path.touch()
        again = Images(images.repository, other)
        version = images.version(ONE)
        assert again.build("again", "--no-cache", version=version) == images.id(ONE)


# The base has an old version of the package in its list, so Debian's is a fix.
OLD_BASE = """FROM python:3.14-slim-trixie
RUN dpkg-query --show --showformat '${Version}' tzdata > /tzdata \\
    && sed -i '/^Package: tzdata$/,/^$/ s/^Version: .*/Version: 2000a-1/' /var/lib/dpkg/status
"""


@pytest.mark.long
class TestDebianUpdates:
    """A fix that the base lacks is installed, and two builds are still one image."""

    @pytest.mark.timeout(400)
    def test_one(self, docker: DockerClient, images: Images, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(OLD_BASE)
        base = images.name("old-base")
        run(["docker", "build", "--quiet", "--tag", base, "."], cwd=tmp_path)
        fixed = str(docker.run(base, ["cat", "/tzdata"], remove=True))
        source = copy_of_repository(tmp_path / "source", images.source)
        with (source / "deploy/debian-updates.txt").open("a") as updates:
            updates.write(f"tzdata={fixed} # a reason\n")
        environment = {
            "PYTHON_IMAGE": base,
            "APP_IMAGE": images.repository,
            "TAG": "updated",
            "GIT_SHA": "updated",
            "SOURCE_DATE_EPOCH": time_of_commit(),
        }
        command = ["deploy/build", "--quiet", "--no-cache-filter", "system,runtime"]
        ids = {run(command, cwd=source, env=environment) for _ in range(2)}
        assert len(ids) == 1
        shown = ["dpkg-query", "--show", "--showformat", "${Version}", "tzdata"]
        assert docker.run(images.name("updated"), shown, remove=True) == fixed


@pytest.mark.long
class TestCache:
    """After a change of the lock a build downloads no package that an earlier one downloaded."""

    @pytest.mark.timeout(300)
    def test_nothing_is_downloaded_again(self, images: Images, tmp_path: Path) -> None:
        changed = copy_of_repository(tmp_path / "changed", images.source)
        with (changed / "requirements.txt").open("a") as lock:
            lock.write(f"# {time.time()}\n")
        command = ["docker", "build", "--progress", "plain", "--target", "builder", "."]
        said = run(command, cwd=changed, check=False)
        assert re.search(r"Installed \d+ packages", said)
        # uv prints this word when it downloads or builds a package.
        assert "Prepared" not in said


class TestSecrets:
    """A secret in the folder reaches neither a layer nor the image's description."""

    def test_neither_layers_nor_description_hold_them(
        self, docker: DockerClient, images: Images, tmp_path: Path
    ) -> None:
        # A copy, because other tests start stacks from this folder.
        around = Images(images.repository, copy_of_repository(tmp_path, images.source))
        for name in (".env", "secrets/database_password", "app/.env", "backups/of.dump"):
            file = around.source / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"CANARY={CANARY}\n")
        tag = "with-secrets-around"
        around.build(tag)
        docker.image.save(images.name(tag), output=tmp_path / "image.tar")
        # This archive's layers are not compressed, so the text of each file is readable in it.
        assert CANARY.encode() not in (tmp_path / "image.tar").read_bytes()
        for words in (["history", "--no-trunc"], ["inspect"]):
            assert CANARY not in run(["docker", *words, images.name(tag)], cwd=tmp_path)
