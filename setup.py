"""Where the packages are; everything else is in pyproject.toml.

``adapters/`` is installed as ``fastcos.adapters``. Where ``fastcos/adapters``, a symbolic link to
it, is a directory, the packages lie as they are imported: an editable install is then one path,
which type checkers follow, too. A checkout without symbolic links (Windows) names the directory.
"""

from pathlib import Path

from setuptools import setup

in_place = Path(__file__).with_name("fastcos").joinpath("adapters").is_dir()
setup(package_dir={"": "."} if in_place else {"fastcos.adapters": "adapters"})
