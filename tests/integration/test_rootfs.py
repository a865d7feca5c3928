"""The rootfs builder makes an image from nothing, describes it, and makes it only once."""
import hashlib
import json
import os
import pathlib
import subprocess

import pytest

pytestmark = pytest.mark.full

BUILD = pathlib.Path(__file__).resolve().parents[2] / "rootfs" / "build.sh"
SUPER_OFFSET = 1024
LABEL_AT = SUPER_OFFSET + 64


def shared_cache():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("KILN_CACHE") or os.path.join(home, "kiln"))


def build(cache, *args, path=None):
    env = dict(os.environ, KILN_CACHE=str(cache))
    if path:
        env["PATH"] = str(path)
    return subprocess.run([BUILD, *args], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", name="cache")
def fixture_cache(tmp_path_factory):
    """An empty cache that shares nothing with the machine's but the downloaded packages."""
    cache = tmp_path_factory.mktemp("kiln-cache")
    packages = shared_cache() / "apt"
    packages.mkdir(parents=True, exist_ok=True)
    (cache / "apt").symlink_to(packages)
    return cache


@pytest.fixture(scope="module", name="folder")
def fixture_folder(cache):
    done = build(cache, "--profile", "base")
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", name="without_mmdebstrap")
def fixture_without_mmdebstrap(tmp_path_factory):
    """A PATH on which everything is but mmdebstrap: whoever builds says so, whoever doesn't need not."""
    folder = tmp_path_factory.mktemp("bin")
    for place in ("/usr/sbin", "/usr/bin"):
        for program in os.listdir(place):
            if program != "mmdebstrap" and not (folder / program).is_symlink():
                (folder / program).symlink_to(os.path.join(place, program))
    return folder


def test_description_fits_the_image(folder):
    about = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    data = (folder / "base.erofs").read_bytes()
    assert about["name"] == "base"
    assert about["format"] == "erofs"
    assert about["suite"] == "bookworm"
    assert about["profiles"] == ["base"]
    assert about["os"]["id"] == "debian"
    assert about["size_bytes"] == len(data)
    assert about["sha256"] == hashlib.sha256(data).hexdigest()
    assert {"bash", "ca-certificates", "mount"} <= set(about["packages"])
    assert "gcc" not in about["packages"]
    assert data[LABEL_AT:LABEL_AT + 16] == b"kiln-root".ljust(16, b"\0")


def test_contents(folder, tmp_path):
    tree = tmp_path / "tree"
    subprocess.run(["fsck.erofs", f"--extract={tree}", folder / "base.erofs"], check=True, capture_output=True)
    for name in ("workspace", "proc", "sys", "dev", "run", "tmp"):
        assert (tree / name).is_dir(), name
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not list((tree / "dev").iterdir())
    assert not list((tree / "usr/share/man").glob("*"))
    assert not list((tree / "var/lib/apt/lists").glob("*Packages*"))
    assert not list((tree / "var/cache/apt").rglob("*.deb"))
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert "bookworm" in (tree / "etc/apt/sources.list").read_text(encoding="utf-8")
    assert not [p for p in tree.rglob("*") if "kiln-agent" in p.name]


def test_superblock_is_valid(folder):
    """fsck compares the checksum that naming the image had to make anew."""
    done = subprocess.run(["fsck.erofs", folder / "base.erofs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "checksum" not in done.stderr


def test_second_run_builds_nothing(cache, folder, without_mmdebstrap):
    before = (folder / "base.erofs").stat().st_mtime_ns
    done = build(cache, "--profile", "base", path=without_mmdebstrap)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder)
    assert (folder / "base.erofs").stat().st_mtime_ns == before


@pytest.mark.parametrize("other", [["--packages", "less"], ["--suite", "trixie"], ["--format", "ext4"],
                                   ["--profile", "sudo"]])
def test_other_inputs_are_another_image(cache, folder, without_mmdebstrap, other):
    assert folder.is_dir()
    done = build(cache, "--profile", "base", *other, path=without_mmdebstrap)
    assert done.returncode == 1
    assert "mmdebstrap is missing: install mmdebstrap" in done.stderr


def test_same_inputs_give_the_same_bytes(cache, folder):
    about = (folder / "base.json").read_text(encoding="utf-8")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    done = build(cache, "--profile", "base")
    assert done.returncode == 0, done.stderr
    assert (folder / "base.json").read_text(encoding="utf-8") == about


@pytest.mark.parametrize("args,said", [
    (["--profile", "nonesuch"], "there is no profile 'nonesuch'; there are: base builder c "),
    (["--profile", "../x"], "there is no profile '../x'"),
    (["--profile", "base", "--format", "zfs"], "there is no format 'zfs'"),
    (["--profile", "base", "--packages", "a;b"], "'a;b' is not the name of a Debian package"),
    (["--profile", "base", "--size", "1G"], "--size is for ext4"),
    (["--profile", "base", "--format", "ext4", "--size", "lots"], "'lots' is not a size"),
])
def test_bad_arguments_are_refused(cache, args, said):
    before = sorted(cache.rglob("*"))
    done = build(cache, *args)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""
    assert sorted(cache.rglob("*")) == before


def test_a_package_that_does_not_exist(cache):
    done = build(cache, "--profile", "base", "--packages", "kiln-no-such-package", "--name", "odd")
    assert done.returncode == 1
    assert "kiln-no-such-package" in done.stderr
    assert "odd was not built" in done.stderr
    assert not list(cache.glob("image/*/odd.*")) and not list(cache.glob("image/*.tmp"))
