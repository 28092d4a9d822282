"""The checks of continuous integration one by one: ``nox -l`` lists them.

``.ci/run`` runs them, in one environment. Here each session has its own; with ``--no-venv
--no-install`` it uses the one that is active.
"""

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
    """The examples of the README and of the docstrings."""
    install(session)
    session.run("python", "-m", "pytest", "README.md", "fastcos", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """A short run of the benchmarks, into a file of the session: it shows that they run."""
    install(session)
    rows = session.create_tmp() + "/rows.jsonl"
    session.run("python", "-m", "bench", "--quick", "--json", rows, *session.posargs)
