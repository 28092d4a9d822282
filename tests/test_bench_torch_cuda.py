"""The bench of the torch adapter on a GPU: all of it but the times, which are made up here."""

import functools
import gc
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

torch = pytest.importorskip("torch")

from bench import __main__ as command  # noqa: E402
from bench import gpu, report, runner, torch_cases, torch_cuda_cases  # noqa: E402
from bench.runner import AGAIN, COPY, OURS  # noqa: E402
from bench.torch_cases import BOTH, CASES, COMPILE, EAGER, FORWARD, PEERS  # noqa: E402

SIZES = ((4, 24), (6, 24))
MEASURED = ("float32", "bfloat16")
CHOSEN = ("pairwise_distance", "cosine_embedding_loss", "hinge_embedding_loss:rows")
L2 = 4 * 4 * 24 * 4  # what a pair of the smaller size and its gradients take in float32
HERTZ = 1.5e9
PEAK = 12345

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
(EMBEDDING,) = (case for case in CASES if case.name == "cosine_embedding_loss")


class Device:
    """A GPU whose time passes where it is told to, and whose memory is a number."""

    def __init__(self):
        self.seconds = 0.0
        self.slept = []
        self.free = 1 << 30
        self.allocated = self.most = 0

    def sleep(self, cycles):
        assert type(cycles) is int  # torch takes no other
        self.slept.append(cycles)
        self.seconds += cycles / HERTZ

    def allocate(self, count):
        self.allocated += count
        self.most = max(self.most, self.allocated)

    def forget(self):
        self.most = self.allocated


def _simulate(patch):
    device = Device()

    class Event:
        def __init__(self, enable_timing=False):
            assert enable_timing

        def record(self):
            device.seconds += 1e-7
            self.at = device.seconds

        def synchronize(self):
            assert self.at

        def elapsed_time(self, other):
            return (other.at - self.at) * 1e3

    properties = types.SimpleNamespace(
        name="NVIDIA Simulated",
        major=9,
        minor=0,
        multi_processor_count=1,
        total_memory=2 << 30,
        L2_cache_size=L2,
        uuid="0123",
    )
    for name, fake in (
        ("Event", Event),
        ("_sleep", device.sleep),
        ("empty_cache", lambda: None),
        ("mem_get_info", lambda: (device.free, 2 << 30)),
        ("current_device", lambda: 0),
        ("get_device_properties", lambda number: properties),
        ("memory_allocated", lambda: device.allocated),
        ("max_memory_allocated", lambda: device.most),
        ("reset_peak_memory_stats", device.forget),
    ):
        patch.setattr(torch.cuda, name, fake)
    patch.setattr(torch_cuda_cases, "_DEVICE", "cpu")
    suite = torch_cuda_cases.SUITE._replace(fault=str)
    patch.setattr(torch_cuda_cases, "SUITE", suite)
    patch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    patch.setattr(gpu, "versions", lambda *modules: {name: "1.0" for name, _ in modules})
    patch.setattr(runner, "SAMPLE", 0.0)
    return device


@pytest.fixture
def simulated(monkeypatch):
    return _simulate(monkeypatch)


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # inductor's are not ours
@each_case
@pytest.mark.parametrize("dtype", MEASURED)
def test_providers_agree_on_a_gpu(case, dtype):
    if fault := torch_cuda_cases.fault():
        pytest.skip(fault)
    (tensors,) = torch_cuda_cases.pool(runner.Size(21, 14), dtype, 1 << 20)
    assert {t.device.type for t in (*tensors.rows, *tensors[1:])} == {"cuda"}
    for mode in (FORWARD, BOTH):
        providers = torch_cases._afresh(case, PEERS)
        results = {
            name: torch_cases.step(case, *provider, tensors, mode)()
            for name, provider in providers.items()
        }
        parts = {
            name: [result] if mode == FORWARD else [result[0], *result[1]]
            for name, result in results.items()
        }
        for name in (OURS, COMPILE):
            for got, want in zip(parts[name], parts[EAGER], strict=True):
                assert (got.shape, got.dtype) == (want.shape, want.dtype), name
                allowed = 2e-5 if dtype == "float32" else 4e-2
                assert (got - want).abs().max() <= allowed * want.abs().max(), name


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # inductor's are not ours
def test_a_run_on_a_gpu(tmp_path):
    if fault := torch_cuda_cases.fault():
        pytest.skip(fault)
    path = tmp_path / report.TORCH_CUDA
    given = ["--sizes", "32x128", "--dtype", "float32", "--cases", EMBEDDING.name]
    arguments = ["torch", "--device", "cuda", *given, "--repeats", "2", "--json", str(path)]
    assert command.main(arguments) == 0
    found = report.load(path)
    timed = [row for row in found.rows if row["mode"] != "ceiling"]
    assert {row["provider"] for row in timed} == {OURS, AGAIN, *PEERS}
    # Operands of 16 KiB, of which backward makes gradients.
    both = [row for row in timed if row["mode"] == BOTH and row["provider"] != AGAIN]
    assert all(2 * 32 * 128 * 4 <= row["peak_bytes"] < 1 << 20 for row in both)
    assert "NVIDIA" in report.torch_cuda_tables(found)


def test_sizes_reach_from_small_to_the_target():
    sizes = [tuple(map(int, text.split("x"))) for text in torch_cuda_cases.SIZES.split(",")]
    assert sizes[0] == (32, 128)
    assert (4096, 512) in sizes
    assert sizes[-1] == (1 << 20, 1024)
    assert sum(math.prod(size) >= report.LARGE for size in sizes) >= 2


def test_clock_counts_what_follows_the_spin(simulated):
    clock = torch_cuda_cases.clock()
    simulated.slept.clear()
    called = []

    def thunk(number):
        called.append(number)
        simulated.seconds += 2e-6

    thunks = tuple(functools.partial(thunk, number) for number in range(3))
    contender = runner._Contender(FORWARD, OURS, thunks, 1, 1)
    device, host = clock(contender, gpu.Batch(5, 7000), iter(range(4, 99)))
    assert called == [1, 2, 0, 1, 2]
    assert device == pytest.approx(2e-6, rel=0.05)
    assert host > 0
    assert simulated.slept == [pytest.approx(7e-6 * HERTZ, rel=0.01)]


def test_a_sample_fits_the_queue(simulated, monkeypatch):
    monkeypatch.setattr(runner, "SAMPLE", 1e-3)
    clock = torch_cuda_cases.clock()
    for provider, calls in ((OURS, 125), (AGAIN, 125), (COPY, 250), (COMPILE, 62), (EAGER, 10)):
        contender = runner._Contender(FORWARD, provider, (lambda: None,), 1, 1)
        _, (batch,) = gpu.calibrated(
            clock, [contender], iter(range(9999)), torch_cuda_cases._LAUNCHES, (), ""
        )
        assert batch.calls == calls
        assert batch.delay > 0


def test_pool(simulated, monkeypatch):
    size = runner.Size(10, 24)
    array = 10 * 24 * 4
    (one,) = torch_cuda_cases.pool(size, "float32", 4 * array)
    assert one.marks.shape == (240,)
    many = torch_cuda_cases.pool(size, "float32", 4 * array - 1)
    assert len(many) * 2 * array > 2 * (4 * array - 1)
    assert len({t.rows[0].data_ptr() for t in many}) == len(many)
    # Rows beyond those that are drawn are the same once more.
    monkeypatch.setattr(gpu, "DRAWN", 4)
    (again,) = torch_cuda_cases.pool(size, "bfloat16", 1 << 20)
    drawn = torch_cases.drawn(runner.Size(4, 24), "bfloat16")
    for name, whole in again._asdict().items():
        parts = getattr(drawn, name)
        pairs = zip(whole, parts, strict=True) if name == "rows" else [(whole, parts)]
        for long, short in pairs:
            assert torch.equal(long, torch.cat([short, short, short[: len(short) // 2]])), name
    simulated.free = 12 * array
    assert torch_cuda_cases.pool(size, "float32", 1 << 20) == []


def test_the_copy_moves_as_many_bytes_as_there_are_gradients(simulated):
    for case in CASES:
        sets = torch_cuda_cases.pool(runner.Size(10, 24), "bfloat16", 0)[:2]
        ceiling = torch_cuda_cases._ceiling(case, sets)
        operands = [case.inputs(t)[: case.operands] for t in sets]
        assert ceiling.bytes == 2 * sum(x.nbytes for x in operands[0])
        for call, given in zip(ceiling.thunks, operands, strict=True):
            call()
            _, target = call.args
            assert all(torch.equal(*pair) for pair in zip(target, given, strict=True))


def test_peak_is_that_of_one_call(simulated):
    simulated.allocate(1000)  # and let go, before
    simulated.allocate(-800)
    first = [7]

    def call():
        simulated.allocate(sum(first))  # kept for good
        first.clear()
        for count in (100, 50, -150):
            simulated.allocate(count)

    assert torch_cuda_cases.peak_bytes(call) == 150


def test_recompiling_while_timed_is_an_error(simulated, monkeypatch):
    during = []

    def rows(*given):
        during.append(torch._dynamo.config.error_on_recompile)
        return []

    monkeypatch.setattr(gpu, "rows", rows)
    size = runner.Size(4, 24)
    sets = torch_cuda_cases.pool(size, "float32", 1 << 20)
    before = torch._dynamo.config.error_on_recompile
    assert list(torch_cuda_cases.measure(EMBEDDING, size, "float32", sets, 1, [EAGER])) == []
    assert during == [True, True]
    assert torch._dynamo.config.error_on_recompile == before


def test_a_peer_that_cannot_do_it_is_left_out(simulated, monkeypatch, capsys):
    def compiled(*given, **named):
        raise torch.cuda.OutOfMemoryError("a lot")

    monkeypatch.setattr(torch, "compile", lambda function, **named: compiled)
    size = runner.Size(4, 24)
    sets = torch_cuda_cases.pool(size, "float32", 1 << 20)
    rows = list(torch_cuda_cases.measure(EMBEDDING, size, "float32", sets, 1))
    assert {row.provider for row in rows} == {COPY, "copy again", OURS, EAGER, AGAIN}
    assert capsys.readouterr().out.splitlines() == [
        f"cosine_embedding_loss 4x24 float32 {mode}: compile is left out (OutOfMemoryError: a lot)"
        for mode in (FORWARD, BOTH)
    ]


def test_what_fails_does_not_take_the_rest_along(simulated, monkeypatch, capsys):
    broken = EMBEDDING._replace(name="first", inputs=lambda tensors: 1 / 0)
    suite = torch_cuda_cases.SUITE._replace(cases=(broken, EMBEDDING), details=dict, chosen="*")
    monkeypatch.setattr(torch_cuda_cases, "SUITE", suite)
    given = ["--sizes", "4x24", "--dtype", "float32", "--repeats", "1", "--peers", "none"]
    assert command.main(["torch", "--device", "cuda", *given]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("first 4x24 float32 failed\n")
    assert told.out.startswith(EMBEDDING.name)


def test_what_does_not_fit_is_left_out(simulated, capsys):
    simulated.free = 1 << 10
    arguments = ["torch", "--device", "cuda", "--sizes", "16x24", "--dtype", "float32"]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == "16x24 float32 does not fit and is left out\n"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(
    ("built", "said"), [(False, "is built without CUDA"), (True, "torch finds no GPU")]
)
def test_without_a_gpu(where, built, said, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, rest = ["--device", "cuda"], ["--sizes", "8x24"]
    with pytest.raises(SystemExit) as ended:
        command.main(["torch", *(device + rest if where == "before" else rest + device)])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("python -m bench torch --device cuda: torch ")
    assert said in told.err
    assert told.err.count("\n") == 1


def test_a_gpu_without_a_compiler(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_cuda_cases.launch, "missing", lambda: "numba-cuda is missing")
    assert torch_cuda_cases.fault() == "numba-cuda is missing"


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--cases", "paired_distance"], ["--sizes", "tiny"], ["--dtype", "int8"]),
        *(["--repeats", "0"], ["--peers", "cupy"], ["--device", "tpu"]),
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["torch", "--device", "cuda", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_what_the_driver_tells(monkeypatch):
    def run(arguments, **named):
        assert arguments[:2] == ["nvidia-smi", "--id=GPU-0123"]
        return types.SimpleNamespace(stdout="595.1, 345 MHz, 2619 MHz, 1980 MHz, 2619 MHz, 700 W\n")

    monkeypatch.setattr(subprocess, "run", run)
    told = gpu.told_by_the_driver("GPU-0123")
    assert (told["driver_version"], told["power.limit"]) == ("595.1", "700 W")

    def missing(arguments, **named):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert gpu.told_by_the_driver("GPU-0123") == {}


def test_it_needs_no_cupy():
    code = """
import sys
sys.modules["cupy"] = None
from bench import torch_cuda_cases
torch_cuda_cases.fault()
assert "bench.cuda_cases" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run whose times mean nothing, and the documents."""
    root = tmp_path_factory.mktemp("root")
    folder = root / report.RESULTS
    folder.mkdir(parents=True)
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        # To look through all that the suite has made took most of the time of this.
        patch.setattr(gc, "collect", lambda *generation: 0)
        _simulate(patch)
        patch.setattr(torch_cuda_cases, "peak_bytes", lambda call: PEAK)
        sizes = ",".join(f"{n}x{d}" for n, d in SIZES)
        given = ["--sizes", sizes, "--dtype", ",".join(MEASURED), "--repeats", "2"]
        given += ["--cases", ",".join(CHOSEN), "--json", str(folder / report.TORCH_CUDA)]
        assert command.main(["torch", "--device", "cuda", *given]) == 0
    for document in {block.document for block in report.BLOCKS}:
        (root / document).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(report.ROOT / document, root / document)
    return root


KEYS = ("case", "n", "d", "dtype", "mode", "provider")


def test_rows(results):
    run, rows = report.load(results / report.RESULTS / report.TORCH_CUDA)
    assert run["command"].startswith("python -m bench torch --device cuda --sizes 4x24,6x24")
    assert run["gpu"]["name"] == "NVIDIA Simulated"
    assert run["gpu"]["L2"] == L2
    assert run["gpu"]["versions"].keys() == {"triton", "numba-cuda", "cuda-core"}
    assert run["versions"]["torch"] == torch.__version__
    contenders = [
        *((mode, name) for mode in (FORWARD, BOTH) for name in (OURS, *PEERS, AGAIN)),
        # A mode is a round of its own.
        *(("ceiling", name) for _ in (FORWARD, BOTH) for name in (COPY, "copy again")),
    ]
    assert sorted(tuple(row[key] for key in KEYS) for row in rows) == sorted(
        (case, *size, dtype, *contender)
        for case in CHOSEN
        for size in SIZES
        for dtype in MEASURED
        for contender in contenders
    )
    limits = {}
    for row in rows:
        assert row.keys() == {*runner.Row._fields, "kind"}
        for times in (row, row["host"]):
            assert 0 < times["p20"] <= times["p50"] <= times["p80"]
        # The first copy is that of the rows which follow it.
        of_case = tuple(row[key] for key in KEYS[:4])
        if row["provider"] == COPY:
            limits[of_case] = row["gbps"]
        assert row["ceiling"] == COPY
        assert row["share"] == pytest.approx(row["gbps"] / limits[of_case])
        timed = row["provider"] in (OURS, *PEERS)
        assert row["peak_bytes"] == (PEAK if timed else None)
        peers = {OURS: {*PEERS, AGAIN}, EAGER: {OURS, COMPILE}, COMPILE: {OURS, EAGER}}
        assert row["faster"].keys() == peers.get(row["provider"], set())
        assert (row["cache"] == "in") == (row["dtype"] != "float32" or row["n"] == 4)


def test_rows_survive_json(simulated):
    size = runner.Size(4, 24)
    sets = torch_cuda_cases.pool(size, "float32", 1 << 20)
    for row in torch_cuda_cases.measure(EMBEDDING, size, "float32", sets, 1, [EAGER]):
        assert runner.Row(**json.loads(json.dumps(row._asdict()))) == row


def test_lines_tell_the_host_and_the_peak(simulated):
    size = runner.Size(4, 24)
    sets = torch_cuda_cases.pool(size, "float32", 1 << 20)
    rows = list(torch_cuda_cases.measure(EMBEDDING, size, "float32", sets, 1, [EAGER]))
    first, *others = report.lines(rows).splitlines()
    assert first == "cosine_embedding_loss  4x24 float32, in cache"
    assert others[-2:] == [f"  peak of {mode}: 0 B fastcos, 0 B eager" for mode in (FORWARD, BOTH)]
    assert all(" host " in line for line in others[:-2])


def test_report_and_check(results, capsys):
    given = ["--root", str(results)]
    page = results / "docs" / "speed" / "gpu.md"
    before = page.read_text(encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    start, stop = report.markers("bench-torch-cuda")
    block = text[text.index(start) : text.index(stop)]
    # Only this block is another.
    assert text.replace(block, "") == re.sub(f"{start}.*?(?={stop})", "", before, flags=re.DOTALL)
    assert "not been measured" not in block
    assert "NVIDIA Simulated" in block
    # For each dtype times of the device and of the host in two modes, shares, and memory.
    assert block.count("\n| `") == len(CHOSEN) * len(MEASURED) * 6
    assert block.count("\n| *again* |") == len(MEASURED) * 4
    for part in block.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    (shown,) = re.findall(r"!\[[^]]*\]\(([^)]*)\)", block)
    assert (page.parent / shown).stat().st_size > 10_000
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100


def _changed(results, **changes):
    """The tables, after a change to the rows of a case at the largest size."""
    run, rows = report.load(results / report.RESULTS / report.TORCH_CUDA)
    key = (CHOSEN[0], *SIZES[-1], MEASURED[0], BOTH)
    for row in rows:
        if tuple(row[k] for k in KEYS[:5]) == key and row["provider"] in changes:
            changes[row["provider"]](row)
    return report.torch_cuda_tables(report.Results(run, rows))


def _row(text, title):
    """The row of the changed case in the table of this title."""
    part = text[text.index(title) :]
    return re.search(rf"\| `{CHOSEN[0]}` \|.*", part)[0]


def test_losses_are_shown_like_wins(results):
    def mine(row):
        row.update(p50=2e-6, host={"p50": 3e-6}, share=0.5, peak_bytes=2048)
        row["faster"] = {EAGER: {"ratio": 7.0}, COMPILE: {"ratio": 0.5}, AGAIN: {"ratio": 1.0}}

    def eager(row):
        row.update(host={"p50": 2.1e-6}, peak_bytes=1024)

    def compiled(row):
        row.update(host={"p50": 6e-6}, peak_bytes=2047)

    text = _changed(results, **{OURS: mine, EAGER: eager, COMPILE: compiled})
    device = _row(text, "| forward + backward, float32 |")
    assert device.endswith("| 2 µs, 7.0× / **0.50×** |")
    host = _row(text, "| forward + backward, host, float32 |")
    assert host.endswith("| 3 µs, **0.70×** / 2.0× |")
    assert _row(text, "\n| float32 | 6 × 24 |").endswith(" / **50%** |")
    memory = _row(text, "| 6 × 24, float32 |")
    assert memory.endswith("| **2 KiB** | 1 KiB | 2 KiB |")
    # No more than torch.compile is no loss.
    text = _changed(results, **{OURS: mine, COMPILE: lambda row: row.update(peak_bytes=2048)})
    assert "| 2 KiB | 12.1 KiB | 2 KiB |" in _row(text, "| 6 × 24, float32 |")


def test_tables_of_what_is_missing(results):
    run, rows = report.load(results / report.RESULTS / report.TORCH_CUDA)
    kept = []
    for row in rows:
        if row["dtype"] == "bfloat16":
            row["faster"].pop(COMPILE, None)
            if row["provider"] == COMPILE:
                continue
        if row["dtype"] == "float32" and row["n"] == 6 and row["case"] == CHOSEN[0]:
            continue
        kept.append(row)
    text = report.torch_cuda_tables(report.Results(run, kept))
    assert _row(text, "| forward, float32 |").endswith(" | – |")
    assert _row(text, "| forward, bfloat16 |").endswith(" / – |")
    assert _row(text, "| forward, host, bfloat16 |").endswith(" / – |")
    assert _row(text, "\n| float32 | 6 × 24 |").endswith("| – / – |")
    assert _row(text, "| 6 × 24, float32 |") == f"| `{CHOSEN[0]}` | – | – | – | – | – | – |"
    memory = _row(text, "| 6 × 24, bfloat16 |")
    assert memory == f"| `{CHOSEN[0]}` |{' 12.1 KiB | 12.1 KiB | – |' * 2}"


def test_nothing_is_shown_of_what_is_not_measured():
    if (report.ROOT / report.RESULTS / report.TORCH_CUDA).exists():
        pytest.skip("it has been measured")
    page = pathlib.Path(report.ROOT, "docs/speed/gpu.md").read_text(encoding="utf-8")
    start, stop = report.markers("bench-torch-cuda")
    block = page[page.index(start) + len(start) : page.index(stop)]
    assert block == "\nThe torch adapter has not been measured on a GPU yet.\n"
