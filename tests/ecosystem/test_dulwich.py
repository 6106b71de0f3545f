"""A git repository behind dulwich.web, cloned, pushed to and fetched from by git."""

from __future__ import annotations

import random

import pytest

from support.clients import environment, find, run

pytestmark = pytest.mark.client

BIG = random.Random(1).randbytes(3_000_000)
"""More than http.postBuffer, so that git pushes it without a length."""


@pytest.fixture
def git(serve, tmp_path):
    """Return a server and a function that runs git in a folder of the test's."""
    site = serve("git_server")
    own = environment(
        HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1", GIT_SSL_CAINFO=site.ca_file,
        GIT_AUTHOR_NAME="eva", GIT_AUTHOR_EMAIL="eva@localhost", GIT_TERMINAL_PROMPT="0",
        GIT_COMMITTER_NAME="eva", GIT_COMMITTER_EMAIL="eva@localhost",
    )  # fmt: skip

    def git(*arguments: str) -> str:
        return run([find("git"), *arguments], cwd=tmp_path, env=own)

    return site, git


def test_what_is_pushed_is_cloned_and_fetched(git, tmp_path):
    site, git = git
    one, two = tmp_path / "one", tmp_path / "two"
    url = f"{site.url}/shop.git"
    git("init", "-q", "-b", "main", str(one))
    (one / "small.txt").write_text("hello\n")
    git("-C", str(one), "add", "small.txt")
    git("-C", str(one), "commit", "-qm", "small")
    git("-C", str(one), "push", "-q", url, "main")
    git("clone", "-q", "-b", "main", url, str(two))
    assert (two / "small.txt").read_text() == "hello\n"

    (one / "big.bin").write_bytes(BIG)
    git("-C", str(one), "add", "big.bin")
    git("-C", str(one), "commit", "-qm", "big")
    git("-C", str(one), "push", "-q", url, "main", "HEAD:refs/heads/more")
    git("-C", str(two), "pull", "-q")
    assert (two / "big.bin").read_bytes() == BIG
    assert "refs/heads/more" in git("ls-remote", url)
    git("-C", str(two), "fsck", "--strict")
    git("-C", str(one), "push", "-q", url, ":refs/heads/more")
    assert "refs/heads/more" not in git("ls-remote", url)
    shallow = tmp_path / "shallow"
    git("clone", "-q", "--depth", "1", "-b", "main", url, str(shallow))
    assert git("-C", str(shallow), "rev-list", "--count", "HEAD").strip() == "1"
    assert {line["protocol"] for line in site.accesses()} == {"HTTP/2"}
