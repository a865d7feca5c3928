"""The documentation says what the tree does."""
import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def tracked(pattern):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern], cwd=TOP,
                         check=True, capture_output=True, text=True).stdout
    return [p for p in out.split("\n") if p]


def test_relative_links_resolve():
    broken = []
    for page in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page)):
            if "://" not in target and not os.path.exists(
                    os.path.join(TOP, os.path.dirname(page), target)):
                broken.append(f"{page}: {target}")
    assert not broken


def test_dependencies_page_lists_the_installed_packages():
    script = re.search(r"packages=\((.*?)\)", read("scripts/packages"), re.S).group(1)
    wanted = set(script.split())
    page = read("docs/dependencies.md")
    named = set()
    for row in re.findall(r"^\| ([^|]+) \|", page, re.M):
        named |= {p.strip() for p in row.split(",")}
    assert wanted - named == set()
    assert named - wanted <= {"package", "---", "vhost-device-vsock"}


def test_make_targets_named_in_the_readme_exist():
    known = set(re.findall(r"^([a-z-]+):", read("Makefile") + "".join(
        read(p) for p in tracked("mk/*.mk")), re.M))
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"make ([a-z][a-z-]+)", read(page)):
            assert target in known | {"sure"}, f"{page} names make {target}"
