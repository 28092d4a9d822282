"""Versions of packages, and what to install for an extra, as a command that works everywhere.

``pip install 'fastcos[cuda]'`` does not: there is no such package on an index. The metadata of an
installed one, from a checkout or a wheel, lists what its extras are made of.
"""

import re


def version(package: str) -> str | None:
    """That of an installed package."""
    from importlib import metadata  # takes 30 ms, half of what importing fastcos takes beside NumPy

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def command(*extras: str) -> str:
    """The ``pip install`` of all that the extras list."""
    from importlib import metadata

    try:
        listed = metadata.requires("fastcos") or []
    except metadata.PackageNotFoundError:
        listed = []
    needed = []
    for requirement in listed:
        package, _, marker = requirement.partition(";")
        of = re.search(r"""extra\s*==\s*['"]([^'"]+)""", marker)
        if of and of[1] in extras:
            needed.append(f"'{package.strip()}'")
    if not needed:  # on a path of modules, and not installed
        return f"install what pyproject.toml of fastcos lists as {' and '.join(extras)}"
    return f"pip install {' '.join(needed)}"
