"""What is in the wheel and the source distribution of a folder: ``python .ci/contents.py DIST``.

Compared with what is under version control here, and with a wheel of the checkout itself where
``--also DIR`` has one. Says what is missing and what is too much, and ends with 1 if there is any.
"""

import argparse
import email.message
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
#: Of the repository's host and of a checkout, and not of the source distribution.
NOT_IN_SOURCES = (".github/", ".pre-commit-config.yaml")
#: The symbolic link, which is a directory in what is built.
LINK, TARGET = "fastcos/adapters", "adapters/"


def main() -> int:
    """Checks what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=pathlib.Path, help="a folder of one wheel and one .tar.gz")
    parser.add_argument("--also", type=pathlib.Path, help="a folder of a wheel with the same files")
    arguments = parser.parse_args()
    (wheel,), (sources,) = arguments.dist.glob("*.whl"), arguments.dist.glob("*.tar.gz")

    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    placed = {_placed(path) for path in tracked if path and path != LINK}
    modules = {path for path in placed if path.startswith("fastcos/")}
    wanted = {path for path in placed if not path.startswith(NOT_IN_SOURCES)}

    wrong = []
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    about = f"{wheel.name.partition('-py3')[0]}.dist-info/"
    inside = {name for name in files if not name.startswith(about)}
    wrong += _differences(wheel.name, inside, modules)
    metadata = email.message_from_bytes(files[f"{about}METADATA"])
    wrong += _about_wrong(metadata, files[f"{about}entry_points.txt"].decode())
    for name in ("fastcos/py.typed", f"{LINK}/py.typed", f"{about}licenses/LICENSE"):
        if name not in files:
            wrong.append(f"{wheel.name}: no {name}")

    with tarfile.open(sources) as archive:
        members = [member for member in archive if not member.isdir()]
    packed = {member.name.partition("/")[2] for member in members}
    made = {name for name in packed if name.startswith("fastcos.egg-info/")}
    wrong += _differences(sources.name, packed - made - {"PKG-INFO", "setup.cfg"}, wanted)
    wrong += [f"{sources.name}: {one.name} is no file" for one in members if not one.isfile()]

    for other in arguments.also.glob("*.whl") if arguments.also else ():
        with zipfile.ZipFile(other) as archive:
            there = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
        wrong += _differences(f"{other.name} of the checkout", set(there), set(files))
        changed = [name for name in there.keys() & files.keys() if there[name] != files[name]]
        # RECORD lists the rest in the order in which it was written.
        changed = [name for name in changed if not name.endswith("/RECORD")]
        wrong += [f"{name} is not the same in the wheel of the sources" for name in changed]

    print("\n".join(wrong) or f"{len(inside)} files in the wheel, {len(packed)} in the sources")
    return 1 if wrong else 0


def _placed(path: str) -> str:
    """Where a file of the repository is in what is built."""
    return f"{LINK}/{path.removeprefix(TARGET)}" if path.startswith(TARGET) else path


def _differences(name: str, there: set[str], wanted: set[str]) -> list[str]:
    missing = [f"{name}: no {path}" for path in sorted(wanted - there)]
    return missing + [f"{name}: {path} is too much" for path in sorted(there - wanted)]


def _about_wrong(metadata: email.message.Message, entries: str) -> list[str]:
    """The version is that of _version.py, the command is there, the text is the README."""
    version = re.search(r'^__version__ = "(.+)"$', _read("fastcos/_version.py"), re.MULTILINE)
    wrong = []
    if not version or metadata["Version"] != version[1]:
        wrong.append(f"METADATA has version {metadata['Version']}")
    if metadata["License-Expression"] != "BSD-3-Clause":
        wrong.append("METADATA has no license")
    if metadata["Description-Content-Type"] != "text/markdown":
        wrong.append("METADATA has no README")
    if "fastcos = fastcos.__main__:main" not in entries.splitlines():
        wrong.append("no command fastcos")
    return wrong


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
