"""Clone, source, proxy and artifacts of the guest agent in a real VM, with a host that has a network."""

import io
import os
import subprocess
import tarfile

import pytest

from fakehost import TOP
from fakenet import NetGuest
from githttp import GitServer

pytestmark = pytest.mark.vm

OK, USER = 0, 1
CLONING, RUNNING, COLLECTING = 1, 2, 3
NO_STEP = 0xFFFFFFFF
POLICY = 5


@pytest.fixture(scope="module", name="image")
def _image():
    path = os.environ.get("KILN_TEST_IMAGE") or os.path.join(
        TOP, os.environ.get("B", "build"), "share", "images", "c.erofs")
    assert os.path.exists(path), f"{path} is missing: run `make image-c`"
    return path


def git(*args, cwd):
    env = dict(os.environ, GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@t", GIT_COMMITTER_NAME="t",
               GIT_COMMITTER_EMAIL="t@t", GIT_CONFIG_GLOBAL="/dev/null")
    return subprocess.run(["git", "-c", "protocol.file.allow=always", *args], cwd=cwd, env=env, check=True,
                          capture_output=True, text=True).stdout.strip()


def write(folder, **files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory):
    """prog: two commits, a tag, a branch, a submodule. any: serves single commits. big: 8 MiB."""
    work, root = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("root")
    for name in ("lib", "prog", "big"):
        (work / name).mkdir()
        git("init", "-q", "-b", "main", cwd=work / name)
    write(work / "lib", **{"lib.h": "#define WORD \"from the submodule\"\n"})
    git("add", "-A", cwd=work / "lib")
    git("commit", "-qm", "lib", cwd=work / "lib")
    prog = work / "prog"
    write(prog, Makefile="hello: hello.c\n\tgcc -o $@ $<\n\tar cr libhello.a hello.c\n",
          **{"hello.c": '#include <stdio.h>\n#include "lib/lib.h"\nint main(void){puts(WORD);return 0;}\n',
             "script.sh": "#!/bin/sh\necho hi\n", "src/data": "data\n"})
    (prog / "script.sh").chmod(0o755)
    (prog / "link").symlink_to("src/data")
    git("add", "-A", cwd=prog)
    git("commit", "-qm", "one", cwd=prog)
    git("tag", "-a", "v1", "-m", "v1", cwd=prog)
    git("submodule", "--quiet", "add", str(work / "lib"), "lib", cwd=prog)
    git("config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git", cwd=prog)
    git("add", "-A", cwd=prog)
    git("commit", "-qm", "two", cwd=prog)
    (work / "big" / "random").write_bytes(os.urandom(8 << 20))
    git("add", "-A", cwd=work / "big")
    git("commit", "-qm", "big", cwd=work / "big")
    for name in ("lib", "prog", "big"):
        git("clone", "-q", "--bare", str(work / name), str(root / f"{name}.git"), cwd=work)
    git("clone", "-q", "--bare", str(prog), str(root / "any.git"), cwd=work)
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=root / "any.git")
    server = GitServer(str(root))
    server.work = work
    # a name that only the host's side resolves
    server.url = lambda name: f"http://git.example:{server.port}/{name}.git"
    yield server
    server.close()


def build(image, server, name, *steps, guest_options=None, **spec):
    spec = {"source": "git", "repo_url": server.url(name), "depth": 1, "submodules": "recursive", **spec}
    if steps:
        spec["steps"] = [{"name": f"s{i}", "run": s} for i, s in enumerate(steps)]
    with NetGuest(image, names={"git.example": "127.0.0.1"}, **(guest_options or {})) as guest:
        guest.run(**spec)
        assert guest.result is not None
        return guest


def test_clone_build_and_artifacts(image, server):
    # no steps and no patterns: the Makefile is found, and what it made comes back
    guest = build(image, server, "prog")
    head = git("rev-parse", "main", cwd=server.work / "prog")
    assert guest.result["class"] == OK, guest.text
    source = guest.messages("SOURCE")
    assert [(s["commit"], s["ref"], s["shallow"], s["submodules"]) for s in source] == [
        (head, "main", 1, 1)]
    assert [m["state"] for m in guest.messages("STATE")] == [CLONING, RUNNING, COLLECTING]
    assert f"kiln: cloned {server.url('prog')} at {head[:12]} (main), depth 1 in " in guest.text
    tar = guest.tar()
    assert sorted(tar) == ["hello", "libhello.a"]  # script.sh is as executable, but not made
    member, content = tar["hello"]
    assert member.mode & 0o777 == 0o755 and content[:4] == b"\x7fELF" and b"from the submodule" in content
    assert guest.ends[0][0] == len(guest.artifacts) and guest.ends[0][1] == guest.ends[0][2]
    # every connection ended in order, none was torn
    assert len(guest.finished) == len(guest.opened) > 0
    assert set(guest.opened) == {("git.example", server.port)}


def test_the_clone_is_a_good_repository(image, server):
    guest = build(image, server, "prog", "git status --porcelain --branch; git fsck --no-progress;"
                  "git submodule status; git log --oneline | wc -l; readlink link; ls -ld script.sh;"
                  "git fetch -q --unshallow && git log --oneline | wc -l; git ls-files -s link | cut -c1-6",
                  branch="main")
    lines = guest.text.splitlines()
    at = lines.index("## main...origin/main")
    assert lines[at + 1].startswith(" ") and " lib (" in lines[at + 1]
    assert lines[at + 2:at + 4] == ["1", "src/data"]
    assert lines[at + 4].startswith("-rwxr-xr-x ") and " build " in lines[at + 4]
    assert lines[at + 5:at + 7] == ["2", "120000"]
    assert guest.result["class"] == OK


def test_tag_and_commit(image, server):
    first = git("rev-parse", "v1^{}", cwd=server.work / "prog")
    guest = build(image, server, "prog", "git status -sb; test ! -e lib", tag="v1")
    assert guest.messages("SOURCE")[0]["commit"] == first and guest.messages("SOURCE")[0]["ref"] == "v1"
    assert "## HEAD (no branch)" in guest.text and guest.result["class"] == OK
    guest = build(image, server, "any", "git log --oneline | wc -l", commit=first)
    assert guest.messages("SOURCE")[0]["shallow"] == 1 and guest.text.splitlines()[-1] == "1"
    # a server that does not serve single commits
    guest = build(image, server, "prog", "true", commit=first)
    assert "kiln: the server does not serve single commits, fetching the whole history" in guest.text
    assert guest.messages("SOURCE")[0]["shallow"] == 0
    assert guest.messages("SOURCE")[0]["commit"] == first


@pytest.mark.parametrize("name, spec, words", [
    ("prog", {"branch": "gone"}, "there is no branch 'gone'"),
    ("any", {"commit": "0" * 39 + "1"}, "there is no commit " + "0" * 39 + "1"),
    ("missing", {}, "the repository was not found or needs credentials (HTTP 404)"),
    ("prog", {"repo_url": "http://nowhere.example/x.git"}, "nowhere.example does not resolve"),
    ("prog", {"repo_url": "http://denied.example/x.git"}, "egress refused: denied.example is not allowed"),
])
def test_clones_that_cannot_be(image, server, name, spec, words):
    guest = build(image, server, name, "true", guest_options={
        "refuse": {"denied.example": (POLICY, "egress refused: denied.example is not allowed")}}, **spec)
    assert guest.result["class"] == USER and guest.result["step"] == NO_STEP
    assert words in guest.result["message"]
    assert [m["state"] for m in guest.messages("STATE")][0] == CLONING
    assert guest.messages("STEP_BEGIN") == []


def test_steps_reach_the_network_through_the_proxy(image, server):
    url = server.url("big")
    guest = build(
        image, server, "lib",
        f"git clone -q {url} /tmp/big && sha1sum /tmp/big/random",
        # a refusal is HTTP, with the words in it
        "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT denied.example:443 HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3",
        "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'rubbish\\r\\n\\r\\n' >&3; cat <&3",
        guest_options={"refuse": {"denied.example": (POLICY, "egress refused: denied.example:443")}})
    digest = subprocess.run(["sha1sum", str(server.work / "big" / "random")], capture_output=True,
                            text=True, check=True).stdout.split()[0]
    assert f"{digest}  /tmp/big/random" in guest.text
    assert "HTTP/1.1 403 Forbidden\r\nX-Kiln-Refused: egress refused: denied.example:443\r\n" in guest.text
    assert "HTTP/1.1 400 Bad Request" in guest.text
    assert guest.result["class"] == OK
    assert max(down for _, _, _, down in guest.finished) > 8 << 20


def make_tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_source_stream(image):
    source = make_tar([
        ("d", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
        ("d/run", {"mode": 0o755, "mtime": 1000000000}, b"#!/bin/sh\necho ran\n"),
        ("d/l", {"type": tarfile.SYMTYPE, "linkname": "run"}, b""),
        ("ünï", {"mode": 0o600}, b"x" * 3000000),
    ])
    with NetGuest(image, source=source) as guest:
        guest.run(source="tar", steps=[{"name": "s", "run":
                  "d/l; stat -c '%n %a %U %Y %s' d/run ünï"}],
                  artifacts={"paths": ["**"], "exclude": ["ünï"]})
        assert guest.result["class"] == OK, guest.text
        assert "\nran\nd/run 755 build 1000000000 19\nünï 600 build 0 3000000\n" in guest.text
        assert guest.tar_acked.name == "STREAM_ACK"
        assert guest.tar_acked.fields["total_bytes"] == len(source)
        assert guest.tar_acked.fields["entries"] == 4
        assert sorted(guest.tar()) == ["d/l", "d/run"]
        assert guest.messages("SOURCE") == []


def test_a_source_that_climbs_out(image):
    source = make_tar([("l", {"type": tarfile.SYMTYPE, "linkname": "/tmp"}, b""), ("l/x", {}, b"x")])
    with NetGuest(image, source=source) as guest:
        guest.run(source="tar", steps=[{"name": "s", "run": "true"}])
        assert guest.result["class"] == USER
        assert "cannot unpack the source: l/x" in guest.result["message"]


def test_artifacts_of_a_hostile_workspace(image):
    step = ("mkdir -p out/empty out/d; echo a >out/a; ln out/a out/hard; ln -s /etc/passwd out/link;"
            "mkfifo out/fifo; sudo -n true 2>/dev/null; ln -s / root; echo x >\"out/ünï\"; "
            "mkdir -p .git; echo y >.git/config; chmod 4755 out/a; "
            "head -c 3000000 /dev/zero >out/d/zero; exit 3")
    with NetGuest(image) as guest:
        guest.run(steps=[{"name": "s", "run": step}],
                  artifacts={"paths": ["out", "root/**", "nothing/*"], "exclude": []})
        assert guest.result["class"] == USER and guest.result["exit_code"] == 3
        tar = guest.tar()  # of a failed build, too
        assert sorted(tar) == ["out/a", "out/d/zero", "out/empty", "out/hard", "out/link", "out/ünï"]
        assert tar["out/hard"][0].islnk() and tar["out/hard"][0].linkname == "out/a"
        assert tar["out/link"][0].issym() and tar["out/link"][0].linkname == "/etc/passwd"
        assert tar["out/d/zero"][1] == bytes(3000000)
        assert "kiln: artifacts: left out what is no file: out/fifo" in guest.text
        assert "kiln: no file matched the artifact pattern 'nothing/*'" in guest.text


def test_artifacts_over_the_limit(image):
    with NetGuest(image) as guest:
        guest.run(steps=[{"name": "s", "run": "head -c 2000000 /dev/zero >a"}],
                  artifacts={"paths": ["a"], "exclude": []}, artifact_bytes_max=1000000)
        assert guest.result["class"] == USER
        assert "artifact_bytes_max" in guest.result["message"]
        assert guest.artifacts is None and guest.kind1[0]["code"] == 4
