"""What all commands have in common: help, hints, exit codes, and pipes that are closed."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import fastcos
from fastcos import __main__ as command_line
from fastcos.__main__ import main

pytestmark = pytest.mark.host

COMMANDS = ["demo", "info", "warmup", "search", "duplicates"]
CALLED = {"fastcos": "fastcos", "python -m fastcos": command_line.__file__}


def run(*arguments, script=None, **options):
    start = ["-m", "fastcos"] if script is None else [str(script)]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "COLUMNS": "80", "PYTHONUNBUFFERED": ""},
        **options,
    )


@pytest.fixture
def script(tmp_path):
    """What an installer makes of the entry point."""
    path = tmp_path / "fastcos"
    path.write_text("import sys\nfrom fastcos.__main__ import main\nsys.exit(main())\n")
    return path


@pytest.fixture(params=CALLED)
def called(request, monkeypatch):
    monkeypatch.setattr(sys, "argv", [CALLED[request.param]])
    monkeypatch.setenv("COLUMNS", "80")
    return request.param


# -- help ------------------------------------------------------------------------------------------


def test_help_has_each_command_with_a_line_and_an_example(called, capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {called} [-h] [--version] COMMAND ...\n")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w.+$", said, re.MULTILINE)
        assert f"\n  {called} {name} " in said
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert capsys.readouterr().out == said


def test_the_guide_that_help_names_is_there():
    (guide,) = re.findall(r"docs/\S+", command_line._MORE)
    root = pathlib.Path(fastcos.__file__).parent.parent
    assert not (root / "docs").exists() or (root / guide).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_ends_with_an_example(command, called, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {called} {command} [-h]")
    example = said.rpartition("example:\n")[2]
    assert example.startswith(f"  {called} {command} ")
    # It is a command line that there is.
    parser = command_line._parser()
    assert parser.parse_args(example.removeprefix(f"  {called} ").split()).command == command


@pytest.mark.parametrize("columns", ["80", "300"])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_fits_the_screen_and_the_eye(command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= min(int(columns), 90)


def test_version_is_that_of_the_package(called, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"fastcos {fastcos.__version__}\n"


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], ": error: there is no command 'serch': did you mean 'search'?"),
        (["--", "Info"], ": error: there is no command 'Info': did you mean 'info'?"),
        (["qux"], "no command 'qux': demo, info, warmup, search, duplicates"),
        (["--vers1on"], ": error: unrecognized arguments: --vers1on"),
        (["info", "--jsno"], " info: error: unrecognized arguments: --jsno: did you mean '--json'"),
        (
            ["warmup", "--distnces=dot"],
            " warmup: error: unrecognized arguments: --distnces=dot: did you mean '--distances'?",
        ),
        (["info", "now"], " info: error: unrecognized arguments: now"),
        (["demo", "--loss", "info_nce"], "invalid choice: 'info_nce' (choose from all, cosine_"),
        (["demo", "--loss", "hinge_embeding_loss"], "did you mean 'hinge_embedding_loss'?"),
    ],
)
def test_what_is_wrong_is_said_with_what_may_be_meant(arguments, said, called, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.splitlines()[-1].startswith(called)


def test_faults_are_named_by_what_was_called(called, tmp_path, capsys):
    missing, out = str(tmp_path / "x.npy"), str(tmp_path / "out.npy")
    assert main(["duplicates", missing, "--threshold", "0.9", "--out", out]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{called}: cannot read {missing!r}: ")
    assert captured.out == ""


# -- as a process ----------------------------------------------------------------------------------


def test_the_script_ends_with_the_code_of_what_happened(script):
    done = run("info", script=script, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fastcos ")
    done = run("search", "a.npy", "b.npy", "--k", "1", "--out", "c.npz", script=script)
    assert done.returncode == 1
    assert done.stderr.startswith("fastcos: cannot read 'a.npy': ")
    done = run("nothing", script=script)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: fastcos [-h]")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--help"], ["warmup", "-h"]])
def test_a_reader_that_goes_away_is_no_traceback(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_letters_that_a_terminal_lacks_are_no_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from fastcos import __main__ as command_line\n"
        "command_line._show_info = lambda as_json: print('\\u00fc.npy') or 0\n"
        "sys.exit(command_line.main(['info']))\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xfc.npy\n", "")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "then",
    ["[time.sleep(0.05) for _ in range(1200)]", "raise RuntimeError('no compiled object')"],
    ids=["goes on", "fails"],
)
def test_ctrl_c_that_a_callback_of_the_compiler_loses(then, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import ctypes, signal, sys, time
from fastcos import __main__ as command_line
def show(as_json):
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()
    {then}
signal.signal(signal.SIGINT, signal.default_int_handler)
command_line._show_info = show
sys.exit(command_line.main(["info"]))
""")
    done = run(script=script, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (130, "python -m fastcos: interrupted\n")


# -- the guide -------------------------------------------------------------------------------------

GUIDE = pathlib.Path(fastcos.__file__).parents[1] / "docs" / "guides" / "command_line.md"
SHOWN = re.compile(r"```sh\n((?:(?!```).*\n)*)```\n\n```text\n((?:(?!```).*\n)*)```")
# What depends on the machine.
VARIES = re.compile(r"^(time|written) .*$", re.MULTILINE)


@pytest.mark.skipif(not GUIDE.exists(), reason="no documents here")
@pytest.mark.parametrize("command", ["search", "duplicates"])
def test_the_guide_shows_what_is_printed(command, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((20_000, 64), dtype="float32")
    queries = gallery[:100] + rng.standard_normal((100, 64), dtype="float32") / 10
    np.save(tmp_path / "gallery.npy", gallery)
    np.save(tmp_path / "queries.npy", queries)
    np.save(tmp_path / "rows.npy", np.concatenate([gallery[:1000], queries]))
    monkeypatch.chdir(tmp_path)
    shown = SHOWN.findall(GUIDE.read_text("utf-8"))
    ((line, text),) = [each for each in shown if each[0].startswith(f"fastcos {command} ")]
    assert main(line.split()[1:]) == 0
    assert VARIES.sub("", capsys.readouterr().out) == VARIES.sub("", text)


@pytest.mark.skipif(not GUIDE.exists(), reason="no documents here")
def test_command_lines_of_the_guide_are_taken():
    lines = re.findall(r"^(?:\w+=\S+ )?fastcos (\w.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    given = {
        command_line._parser().parse_args(line.split()).command for line in lines if " " in line
    }
    assert given == {*COMMANDS} - {"info"}
