"""The bench of a GPU: all of it but the times, on the simulated one."""

import gc
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import types

import devices
import numpy as np
import pytest

from bench import __main__ as command
from bench import cases, cuda_cases, gpu, report, runner
from bench.cases import GRADIENT, GRADIENT_OUT, VALUE
from bench.cuda_cases import CASES, CUPY
from bench.runner import AGAIN, COPY, OURS

DTYPES = ("float32", "bfloat16", "float16")
MEASURED = DTYPES[:2]
SIZES = ((4, 24), (6, 24))
# Relative to the largest number of the array; the formula rounds after every operation.
TOLERANCE = {"float32": 2e-5, "bfloat16": 8e-2, "float16": 1e-2}
L2 = 4 * 4 * 24 * 4  # what a pair of the smaller size and its gradients take in float32

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_host_s_part_of_a_call_is_timed_without_a_gpu():
    # In a process of its own, whose torch and CuPy are others afterwards.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from bench import host; host.main(2, 2)"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    times = {line[:32].strip(): float(line[32:-3]) for line in done.stdout.splitlines()}
    assert {"CuPy, value", "tensors, value", "forward and backward"} <= set(times)
    assert min(times.values()) > 0


class Event:
    """Seconds of the host stand in for the device's."""

    clock = 0.0

    def record(self):
        Event.clock += 1e-6
        self.at = Event.clock

    def synchronize(self):
        assert self.at


class ReductionKernel:
    """The sum of products that the formulas have CuPy make."""

    def __init__(self, given, result, product, add, last, start, name, *, reduce_type):
        assert (given, result, add, last, start) == ("T x, T y", "T z", "a + b", "z = a", "0")
        assert product == f"{reduce_type}(x) * {reduce_type}(y)"
        self.wide = {"float": np.float32, "double": np.float64}[reduce_type]

    def __call__(self, x, y, axis):
        wide = (np.asarray(array).astype(self.wide) for array in (x, y))
        return x.library.own(np.multiply(*wide).sum(axis=axis).astype(x.dtype))


class CuPy:
    """The simulated GPU's CuPy, and what the bench uses beyond the adapter."""

    ReductionKernel = ReductionKernel
    sqrt, maximum, minimum, subtract = np.sqrt, np.maximum, np.minimum, np.subtract
    copyto = staticmethod(np.copyto)
    __version__ = "14"

    def __init__(self, library):
        self._library = library
        self.memory, self.kernels = 1 << 30, []
        runtime = types.SimpleNamespace(
            memGetInfo=lambda: (self.memory, 2 * self.memory),
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13010,
            getDeviceProperties=lambda number: {
                "name": b"NVIDIA Simulated",
                "multiProcessorCount": 1,
                "totalGlobalMem": 2 * self.memory,
            },
        )
        self.cuda = types.SimpleNamespace(
            Event=Event,
            Device=lambda: types.SimpleNamespace(
                id=0,
                compute_capability="90",
                pci_bus_id="0000:00:00.0",
                attributes={"L2CacheSize": L2},
            ),
            runtime=runtime,
            get_elapsed_time=lambda start, stop: (stop.at - start.at) * 1e3,
            is_available=lambda: True,
        )

    def __getattr__(self, name):
        return getattr(self._library, name)

    def RawKernel(self, source, name):
        assert f"void {name}(" in source

        def launch(grid, block, arguments):
            assert all(isinstance(n, np.int64) and n >= 0 for n in arguments)
            self.kernels.append(name)

        return launch

    def get_default_memory_pool(self):
        return types.SimpleNamespace(free_all_blocks=lambda: None)


def _simulate(monkeypatch):
    import simulator

    devices.on("simulated", monkeypatch)
    found = CuPy(devices._simulated()[1])
    monkeypatch.setattr(cuda_cases, "cp", found)
    monkeypatch.setitem(cases.sys.modules, "simulated", found)
    monkeypatch.setattr(runner, "SAMPLE", 0.0)
    cases._one_pass.cache_clear()
    add = simulator.Memory.add

    def add_once(memory, buffer):
        # What an operation in place returns has a buffer that is there already.
        if buffer.ctypes.data not in memory._ends:
            add(memory, buffer)

    monkeypatch.setattr(simulator.Memory, "add", add_once)
    return found


@pytest.fixture
def simulated(monkeypatch):
    return _simulate(monkeypatch)


def _numbers(result):
    """A value, or a value and gradients, as float64 arrays."""
    if isinstance(result, tuple):
        return [array for part in result for array in _numbers(part)]
    return [cuda_cases.cp.asnumpy(result).astype(np.float64)]


def _agree(case, dtype):
    size = runner.Size(21, 13)
    (buffers,) = cuda_cases.pool(size, dtype, 1 << 20)
    found = {key: thunk() for key, thunk in cuda_cases.calls(case, buffers).items()}
    # What is wider would move twice the bytes.
    grads = (grad for (mode, _), result in found.items() if mode != VALUE for grad in result[1])
    assert {grad.dtype.name for grad in grads} == {dtype}
    results = {key: _numbers(result) for key, result in found.items()}
    host = cases.draw(21, 13, dtype)
    formula = cases._half_formula if dtype != "float32" else cases._formula
    value, both = formula(case, case.inputs(host))
    numpy = {VALUE: [value()], GRADIENT: [both()[0], *both()[1]]}
    assert {provider for _, provider in results} == {OURS, CUPY}
    for (mode, provider), parts in results.items():
        if provider == CUPY and case.name.endswith(":near") and dtype != "float32":
            continue  # of near rows a formula in a half type has lost the gradient
        expected = numpy[VALUE if mode == VALUE else GRADIENT]
        for got, want in zip(parts, expected, strict=True):
            want = np.asarray(want, np.float64)
            assert got.shape == want.shape, (mode, provider)
            allowed = TOLERANCE[dtype] * np.abs(want).max()
            assert np.abs(got - want).max() <= allowed, (mode, provider)


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_providers_agree(case, dtype, simulated):
    _agree(case, dtype)


@pytest.mark.gpu
@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_providers_agree_on_a_gpu(case, dtype):
    if fault := cuda_cases.fault():
        pytest.skip(fault)
    _agree(case, dtype)


def test_the_cases_are_those_of_the_cpu():
    assert [case.name for case in CASES] == [c.name for c in cases.CASES if c in CASES]
    assert len(CASES) == len(cuda_cases._NAMES)


def test_sizes_reach_from_small_to_the_target():
    sizes = [tuple(map(int, text.split("x"))) for text in cuda_cases.SIZES.split(",")]
    assert sizes[0] == (32, 128)
    assert sizes[-1] == (1 << 20, 1024)
    assert sum(math.prod(size) >= report.LARGE for size in sizes) >= 3


def test_pool(simulated, monkeypatch):
    size = runner.Size(10, 24)
    array = 10 * 24 * 4
    (one,) = cuda_cases.pool(size, "float32", 4 * array)
    assert one.marks.shape == (240,)
    many = cuda_cases.pool(size, "float32", 4 * array - 1)
    assert len(many) * 2 * array > 2 * (4 * array - 1)
    assert len({b.rows[0].data.ptr for b in many}) == len(many)
    # Rows beyond those that are drawn are the same once more.
    monkeypatch.setattr(gpu, "DRAWN", 4)
    (again,) = cuda_cases.pool(size, "float32", 1 << 20)
    drawn = cases.draw(4, 24, "float32")
    for whole, part in zip(again.rows, drawn.rows, strict=True):
        np.testing.assert_array_equal(np.asarray(whole), np.concatenate([part, part, part[:2]]))
    marks = np.concatenate([drawn.marks, drawn.marks, drawn.marks[:48]])
    np.testing.assert_array_equal(np.asarray(again.marks), marks)
    assert len(again.labels) == len(again.weights) == 10
    simulated.memory = 10 * array
    assert cuda_cases.pool(size, "float32", 1 << 20) == []


def test_what_does_not_fit_is_left_out(simulated, capsys, tmp_path):
    simulated.memory = 1 << 10
    path = tmp_path / "cuda.jsonl"
    arguments = ["--device", "cuda", "--sizes", "16x24", "--dtype", "float32"]
    assert command.main([*arguments, "--json", str(path)]) == 0
    assert capsys.readouterr().out == "16x24 float32 does not fit and is left out\n"


def test_a_formula_that_cupy_cannot_do_is_left_out(simulated, monkeypatch, capsys):
    def unable(*given, **named):
        raise TypeError("no loop")

    monkeypatch.setattr(CuPy, "ReductionKernel", unable)
    size, (case,) = runner.Size(4, 24), CASES[:1]
    sets = cuda_cases.pool(size, "bfloat16", 1 << 20)
    rows = list(cuda_cases.measure(case, size, "bfloat16", sets, 1))
    assert {row.provider for row in rows} == {COPY, "copy again", OURS, AGAIN}
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1] for line in said] == [
        "cupy is left out (TypeError: no loop)"
    ] * 2


def test_what_fails_does_not_take_the_rest_along(simulated, monkeypatch, capsys):
    first, second = CASES[:2]
    broken = second._replace(name="first", inputs=lambda buffers: 1 / 0)
    monkeypatch.setattr(
        cuda_cases, "SUITE", cuda_cases.SUITE._replace(cases=(broken, first), details=dict)
    )
    given = ["--device", "cuda", "--sizes", "4x24", "--dtype", "float32", "--repeats", "1"]
    assert command.main([*given, "--peers", "none"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("first 4x24 float32 failed\n")
    assert "ZeroDivisionError" in told.err
    assert told.out.startswith(first.name)


def test_what_cannot_be_allocated_does_not_take_the_rest_along(simulated, monkeypatch, capsys):
    def pool(size, dtype, last_level):
        if dtype == "float32":
            raise MemoryError("a lot")
        return ()

    suite = cuda_cases.SUITE._replace(pool=pool, details=dict)
    monkeypatch.setattr(cuda_cases, "SUITE", suite)
    given = ["--device", "cuda", "--sizes", "4x24", "--dtype", "float32,float16"]
    assert command.main(given) == 1
    told = capsys.readouterr()
    assert told.err.startswith("4x24 float32 failed\n")
    assert told.out == "4x24 float16 does not fit and is left out\n"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(
    ("present", "said"),
    [(False, "CuPy is not installed: pip install"), (True, "CuPy finds no GPU")],
)
def test_without_a_gpu(where, present, said, monkeypatch, capsys):
    library = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False))
    monkeypatch.setattr(cuda_cases, "cp", library if present else None)
    device, rest = ["--device", "cuda"], ["--sizes", "8x24"]
    with pytest.raises(SystemExit) as ended:
        command.main(device + rest if where == "before" else rest + device)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"python -m bench --device cuda: {said}")
    assert told.err.count("\n") == 1


def test_a_gpu_without_a_compiler(simulated, monkeypatch):
    monkeypatch.setattr(cuda_cases.launch, "missing", lambda: "numba-cuda is missing")
    assert cuda_cases.fault() == "numba-cuda is missing"


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--cases", "cosine_distance_loss"], ["--sizes", "tiny"], ["--dtype", "int8"]),
        *(["--repeats", "0"], ["--peers", "numpy"], ["--device", "tpu"]),
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", "cuda", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_clock(simulated):
    clock, called = cuda_cases.clock(), []
    thunks = tuple((lambda number=number: called.append(number)) for number in range(3))
    contender = runner._Contender(VALUE, OURS, thunks, 1, 1)
    device, host = clock(contender, gpu.Batch(5, 7), iter(range(4, 99)))
    assert called == [1, 2, 0, 1, 2]
    assert device == pytest.approx(1e-6 / 5)
    assert host > 0
    assert simulated.kernels == ["spin"]


def test_a_sample_fits_the_queue(simulated, monkeypatch):
    monkeypatch.setattr(runner, "SAMPLE", 1e-3)
    for provider, calls in ((OURS, 250), (COPY, 250), (CUPY, 15)):
        contender = runner._Contender(VALUE, provider, (lambda: None,), 1, 1)
        (same,), (batch,) = gpu.calibrated(
            cuda_cases.clock(), [contender], iter(range(9999)), cuda_cases._LAUNCHES, (), ""
        )
        assert same == contender
        assert batch.calls == calls
        assert batch.delay > 0


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run of every case, whose times mean nothing, and the documents."""
    root = tmp_path_factory.mktemp("root")
    folder = root / report.RESULTS
    folder.mkdir(parents=True)
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        # To look through all that the suite has made took most of the time of this.
        patch.setattr(gc, "collect", lambda *generation: 0)
        _simulate(patch)
        patch.setenv("FASTCOS_COMMIT", "0123456789ab")
        sizes = ",".join(f"{n}x{d}" for n, d in SIZES)
        given = ["--sizes", sizes, "--dtype", ",".join(MEASURED), "--repeats", "2"]
        path = str(folder / report.CUDA)
        assert command.main(["--device", "cuda", *given, "--json", path]) == 0
    for document in {block.document for block in report.BLOCKS}:
        (root / document).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(report.ROOT / document, root / document)
    return root


def test_rows(results):
    run, rows = report.load(results / report.RESULTS / report.CUDA)
    assert run["command"].startswith("python -m bench --device cuda --sizes 4x24,6x24")
    assert run["commit"] == "0123456789ab"
    assert run["gpu"]["name"] == "NVIDIA Simulated"
    assert run["gpu"]["L2"] == L2
    assert run["gpu"]["versions"].keys() == {"cupy", "numba-cuda", "cuda-core"}
    assert run["versions"].keys() >= {"fastcos", "python", "numpy", "numba"}
    keys = ("case", "n", "d", "dtype", "mode", "provider")
    found = {tuple(row[key] for key in keys): row for row in rows}
    contenders = [
        *((mode, name) for mode in (VALUE, GRADIENT) for name in (OURS, CUPY)),
        *((mode, AGAIN) for mode in (VALUE, GRADIENT_OUT)),
        (GRADIENT_OUT, OURS),
        *(("ceiling", name) for name in (COPY, "copy again")),
    ]
    assert len(found) == len(rows)
    assert found.keys() == {
        (case.name, *size, dtype, *contender)
        for case in CASES
        for size in SIZES
        for dtype in MEASURED
        for contender in contenders
    }
    for (*of_case, mode, provider), row in found.items():
        assert row.keys() == {*runner.Row._fields, "kind"}
        for times in (row, row["host"]):
            assert 0 < times["p20"] <= times["p50"] <= times["p80"]
        assert row["ceiling"] == COPY
        limit = found[(*of_case, "ceiling", COPY)]
        assert row["share"] == pytest.approx(row["gbps"] / limit["gbps"])
        peers = {(VALUE, OURS): {CUPY, AGAIN}, (GRADIENT, OURS): {CUPY}}
        peers |= {(GRADIENT_OUT, OURS): {CUPY, AGAIN}, (VALUE, CUPY): {OURS}}
        assert row["faster"].keys() == peers.get(
            (mode, provider), {OURS} if provider == CUPY else set()
        )
        assert (row["cache"] == "in") == (row["dtype"] != "float32" or row["n"] == 4)


def test_bytes_are_counted_as_on_the_cpu(results):
    _, rows = report.load(results / report.RESULTS / report.CUDA)
    for row in rows:
        (case,) = (case for case in CASES if case.name == row["case"])
        drawn = cases.draw(row["n"], row["d"], row["dtype"])
        if row["mode"] == "ceiling":
            operands = case.inputs(drawn)[: case.operands]
            assert row["bytes"] == 2 * sum(array.nbytes for array in operands)
        else:
            assert row["bytes"] == cases.counted_bytes(case, drawn, row["mode"])


def test_rows_survive_json(simulated):
    size = runner.Size(4, 24)
    sets = cuda_cases.pool(size, "float32", 1 << 20)
    for row in cuda_cases.measure(CASES[0], size, "float32", sets, 1):
        assert runner.Row(**json.loads(json.dumps(row._asdict()))) == row


def test_report_and_check(results, capsys):
    given = ["--root", str(results)]
    page = results / "docs" / "speed" / "gpu.md"
    before = page.read_text(encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    start, stop = report.markers("bench-cuda")
    block = text[text.index(start) : text.index(stop)]
    # Only this block is another.
    assert text.replace(block, "") == re.sub(f"{start}.*?(?={stop})", "", before, flags=re.DOTALL)
    assert "not been measured" not in block
    assert "NVIDIA Simulated" in block
    # A table of shares for each dtype, and one of times at either size.
    assert block.count("\n| `") == len(CASES) * len(MEASURED) * 3
    for part in block.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    (shown,) = re.findall(r"!\[[^]]*\]\(([^)]*)\)", block)
    assert (page.parent / shown).stat().st_size > 10_000
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100


def test_tables_of_what_is_missing(results):
    run, rows = report.load(results / report.RESULTS / report.CUDA)
    for row in rows:
        row["share"] = 0.5 if row["dtype"] == "bfloat16" else 0.95
    kept = [
        row
        for row in rows
        if not (row["dtype"] == "bfloat16" and row["provider"] == CUPY)
        and not (row["dtype"] == "float32" and row["n"] == 6 and row["case"] == CASES[0].name)
    ]
    for row in kept:
        if row["dtype"] == "bfloat16":
            row["faster"].pop(CUPY, None)
    text = report.cuda_tables(report.Results(run, kept))
    assert f"\n| `{CASES[0].name}` | – / – |\n" in text
    assert f"\n| `{CASES[1].name}` | 95% / 95% |\n" in text
    assert text.count("| **50%** / **50%** |\n") == len(CASES)


def test_lines_tell_the_time_of_the_host(simulated):
    size = runner.Size(4, 24)
    sets = cuda_cases.pool(size, "float32", 1 << 20)
    rows = list(cuda_cases.measure(CASES[0], size, "float32", sets, 1))
    first, *others = report.lines(rows).splitlines()
    assert first == f"{CASES[0].name}  4x24 float32, in cache"
    assert all(" host " in line for line in others)


def test_nothing_is_shown_of_what_is_not_measured():
    if (report.ROOT / report.RESULTS / report.CUDA).exists():
        pytest.skip("it has been measured")
    page = pathlib.Path(report.ROOT, "docs/speed/gpu.md").read_text(encoding="utf-8")
    start, stop = report.markers("bench-cuda")
    block = page[page.index(start) + len(start) : page.index(stop)]
    assert block == "\nThe GPU's kernels have not been measured on a GPU yet.\n"
