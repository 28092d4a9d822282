"""The checks of continuous integration one by one: ``nox -l`` lists them.

``.ci/run`` runs them, in one environment. Here each session has its own; with ``--no-venv
--no-install`` it uses the one that is active.
"""

import pathlib
import shutil

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "quick"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def install(session: nox.Session) -> None:
    """The package with what develops it, in the versions that the README's command has."""
    session.install("-c", "constraints.txt", "-e", ".[dev]")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, and whether the figures of the pages are those of ``bench/results``."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "-m", "bench", "report", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy in strict mode."""
    install(session)
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The main tests; what is given after ``--`` goes to pytest."""
    install(session)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """One test of each kind, in a minute."""
    install(session)
    session.run("python", "-m", "pytest", "-m", "quick", *session.posargs)


@nox.session
def tiers(session: nox.Session) -> None:
    """The tiers of the GPU's tests that need none: simulated and compiled."""
    install(session)
    tiers = "simulated or compiled or chunked"
    session.run("python", "-m", "pytest", "-m", tiers, *session.posargs)


@nox.session
def oldest_torch(session: nox.Session) -> None:
    """Tests of tensors with the oldest torch that pyproject.toml promises: 5 GB, for it has CUDA.

    But for what is compiled: its Dynamo takes no distance that is given by its name.
    """
    torch, of_tests = "torch==2.4.0", ("pytest", "pytest-xdist", "hypothesis", "expecttest")
    session.install("-e", ".", torch, "numpy<2.3", "scipy", "ml_dtypes", "mpmath", *of_tests)
    files = [f"tests/test_{name}.py" for name in ("torch", "torch_semantics", "torch_training")]
    session.run("python", "-m", "pytest", *files, "-k", "not compiled", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site with its gallery, whether links out of it lead somewhere, and all examples."""
    install(session)
    for builder in ("html", "linkcheck"):
        folders = ("docs", f"docs/_build/{builder}")
        session.run("python", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, *folders)
    pages = [str(page) for page in pathlib.Path("docs").glob("*.md")]
    pages += [str(page) for page in pathlib.Path("docs").glob("[!_]*/*.md")]
    session.run("python", "-m", "pytest", "README.md", *pages, "fastcos", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """A short run of the benchmarks, into a file of the session: it shows that they run."""
    install(session)
    rows = session.create_tmp() + "/rows.jsonl"
    session.run("python", "-m", "bench", "--quick", "--json", rows, *session.posargs)


# -- what is released, installed without constraints -----------------------------------------------


@nox.session
def package(session: nox.Session) -> None:
    """The source distribution and the wheel, into ``dist/``, and what they hold."""
    session.install("build", "readme-renderer[md]", "twine")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("python", ".ci/contents.py", "dist")
    session.run("twine", "check", "--strict", *map(str, pathlib.Path("dist").iterdir()))


def released(session: nox.Session, suffix: str) -> str:
    """The path of what ``package`` left in ``dist/``."""
    found = list(pathlib.Path("dist").glob(f"*{suffix}"))
    if len(found) != 1:
        session.error("first: nox -s package")
    return str(found[0].resolve())


@nox.session(python=PYTHONS)
def smoke(session: nox.Session) -> None:
    """The wheel in ``dist/``, and then the source distribution, with NumPy and Numba alone."""
    for suffix in (".whl", ".tar.gz"):
        session.install("--force-reinstall", released(session, suffix))
        tried(session)


@nox.session
@nox.parametrize("extra", ["bench", "cuda", "cupy", "dask", "demo", "learn", "peers", "torch"])
def extras(session: nox.Session, extra: str) -> None:
    """The wheel in ``dist/`` with an extra; ``--force-python 3.13`` for another Python."""
    session.install(f"fastcos[{extra}] @ {pathlib.Path(released(session, '.whl')).as_uri()}")
    tried(session, extra)


@nox.session
def peers(session: nox.Session) -> None:
    """The tests against libraries that no extra has: of open_clip the losses alone."""
    install(session)
    session.install("-c", "constraints.txt", "pynndescent>=0.5", "umap-learn>=0.5")
    session.install("--no-deps", "open_clip_torch>=3")
    files = "tests/test_listwise_peers.py", "tests/test_compiled_distance.py"
    session.run("python", "-m", "pytest", *files, *session.posargs)


#: The oldest that pyproject.toml promises, and on newer versions of Python the oldest there are.
OLDEST = {
    "3.10": ("numpy==1.25.*", "numba==0.60.*", "scikit-learn==1.3.*", "scipy==1.11.*"),
    "3.11": ("numpy==1.25.*", "numba==0.60.*", "scikit-learn==1.3.*", "scipy==1.11.*"),
    "3.12": ("numpy==1.26.*", "numba==0.60.*", "scikit-learn==1.3.*", "scipy==1.11.*"),
    "3.13": ("numpy==2.1.*", "numba==0.61.*", "scikit-learn==1.5.*", "scipy==1.14.*"),
}


@nox.session(python=PYTHONS)
def oldest(session: nox.Session) -> None:
    """The wheel in ``dist/`` with the oldest NumPy, Numba, SciPy and scikit-learn."""
    session.install(released(session, ".whl"), *OLDEST[str(session.python)])
    tried(session, "learn")


def tried(session: nox.Session, *extras: str) -> None:
    """The smoke test, from a folder that is no checkout."""
    script = pathlib.Path("tests", "smoke.py").resolve()
    with session.chdir(session.create_tmp()):
        session.run("python", "-I", str(script), *extras)
