"""make install: what is installed works from where it lies, without the source tree."""
import os
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_installed_programs_find_each_other(tmp_path):
    build = os.environ.get("B", "build")
    subprocess.run(["make", "-s", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/kiln", f"B={build}"],
                   cwd=TOP, check=True, capture_output=True)
    prefix = tmp_path / "opt/kiln"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KILN_DIR": str(tmp_path / "data")}
    out = subprocess.run([prefix / "bin/kiln", "paths"], env=env, cwd="/", check=True,
                         capture_output=True, text=True).stdout
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    for setting, name in (("supervisor", "kiln-supervisor"), ("initramfs", "agent.cpio"),
                          ("probe_initramfs", "probe.cpio"),
                          ("vmm.vhost_device_vsock", "vhost-device-vsock")):
        assert rows[setting] == f"{prefix}/lib/kiln/{name}"
        assert os.path.exists(rows[setting])
    version = subprocess.run([prefix / "bin/kiln", "version"], env=env, check=True, capture_output=True, text=True)
    with open(os.path.join(TOP, "VERSION"), encoding="ascii") as f:
        assert f.read().strip() in version.stdout
    assert (prefix / "share/man/man1/kiln.1").exists()
