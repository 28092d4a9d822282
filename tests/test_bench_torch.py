"""The bench of the torch adapter: providers agree, rows add up, tables render."""

import gc
import json
import math

import pytest

torch = pytest.importorskip("torch")

from bench import __main__ as command  # noqa: E402
from bench import ceilings, report, runner, torch_cases  # noqa: E402
from bench.runner import AGAIN, OURS  # noqa: E402
from bench.torch_cases import BOTH, CASES, EAGER, FORWARD  # noqa: E402

SIZES = [(8, 24), (40, 24)]
# Relative to the largest number of the tensor. Torch rounds to bfloat16 after every operation.
TOLERANCE = {"float32": 2e-5, "bfloat16": 4e-2}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_providers_agree(case, dtype):
    sets = torch_cases.pool(runner.Size(21, 14), dtype, 1 << 16)
    forward, both = (
        {name: thunks[0]() for name, thunks in torch_cases.calls(case, sets, mode, [EAGER]).items()}
        for mode in (FORWARD, BOTH)
    )
    for provider, (value, grads) in both.items():
        assert len(grads) == case.operands
        expected, expected_grads = both[EAGER]
        compared = zip(
            (forward[provider], value, *grads), (expected, expected, *expected_grads), strict=True
        )
        for got, want in compared:
            assert (got.shape, got.dtype) == (want.shape, want.dtype), provider
            error = (got - want).abs().max()
            assert error <= TOLERANCE[dtype] * want.abs().max(), provider


@each_case
def test_gradients_do_not_add_up(case):
    sets = torch_cases.pool(runner.Size(21, 14), "float32", 1 << 16)
    for (thunk,) in torch_cases.calls(case, sets, BOTH, [EAGER]).values():
        for one, other in zip(thunk()[1], thunk()[1], strict=True):
            assert torch.equal(one, other)
            assert one.abs().sum() > 0


@each_case
def test_held_bytes_of_torch_are_its_saved_tensors(case):
    (tensors,) = torch_cases.pool(runner.Size(21, 14), "float32", 1 << 16)
    inputs = case.inputs(tensors)
    leaves = [x.detach().requires_grad_() for x in inputs[: case.operands]]
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    function, keywords = torch_cases._providers(case, [EAGER])[EAGER]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function(*leaves, *inputs[case.operands :], **keywords)
    for tensor in (*inputs, result):
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    assert torch_cases.held_bytes(case, function, keywords, tensors) == sum(saved.values())


def test_held_bytes_are_seen_wherever_they_hang():
    import numpy as np

    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = torch.empty(100), np.empty(50)
            torch.empty(1000)
            return x.sum()

        @staticmethod
        def backward(ctx, upstream):
            raise NotImplementedError

    (tensors,) = torch_cases.pool(runner.Size(21, 14), "float32", 1 << 16)
    case = torch_cases.Case("", "", lambda t: (t.distances,), 1)
    assert torch_cases.held_bytes(case, Keeps.apply, {}, tensors) == 4 * 100 + 8 * 50


def test_pool_exceeds_twice_the_last_cache():
    assert len(torch_cases.pool(runner.Size(8, 4), "float32", 1 << 16)) == 1
    for dtype, width in (("float32", 1536), ("bfloat16", 3072)):
        sets = torch_cases.pool(runner.Size(2048, width), dtype, 32 << 20)
        assert {str(r.dtype) for t in sets for r in t.rows} == {f"torch.{dtype}"}
        assert len(sets) * 2 * sets[0].rows[0].nbytes > 2 * (32 << 20)
        assert len({t.rows[0].data_ptr() for t in sets}) == len(sets)


def test_ceilings_move_the_bytes_of_the_operands():
    for dtype in TOLERANCE:
        tensor = torch.randn(6, 10).to(getattr(torch, dtype))
        array = ceilings.flattened(torch_cases._array(tensor))
        assert array.nbytes == tensor.nbytes
        assert array.ctypes.data == tensor.data_ptr()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run of every case, too short to mean anything."""
    path = tmp_path_factory.mktemp("results") / report.TORCH
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(runner, "SAMPLE", 0.0)
        gc.freeze()  # every measurement begins with a collection
        sizes = ",".join(f"{n}x{d}" for n, d in SIZES)
        given = ["--sizes", sizes, "--dtype", "float32,bfloat16", "--repeats", "2"]
        status = command.main(["torch", *given, "--peers", EAGER, "--json", str(path)])
        gc.unfreeze()
        assert status == 0
        yield path


def test_rows(results):
    run, rows = report.load(results)
    assert run["versions"]["torch"] == torch.__version__
    assert run["torch_threads"] == torch.get_num_threads()
    assert run["command"].startswith("python -m bench torch --sizes 8x24,40x24")
    found = {
        tuple(r[key] for key in ("case", "n", "d", "dtype", "mode", "provider", "ceiling")): r
        for r in rows
    }
    providers = [
        *((FORWARD, name, "read") for name in (OURS, EAGER, AGAIN)),
        *((BOTH, name, "copy") for name in (OURS, EAGER, AGAIN)),
        *(("ceiling", name, name.split()[0]) for name in ("read", "read again")),
        *(("ceiling", name, name.split()[0]) for name in ("copy", "copy again")),
    ]
    assert len(found) == len(rows)
    assert found.keys() == {
        (case.name, *size, dtype, *provider)
        for case in CASES
        for size in SIZES
        for dtype in TOLERANCE
        for provider in providers
    }
    for key, row in found.items():
        *of_case, mode, provider, ceiling = key
        assert row.keys() == {*runner.Row._fields, "kind"}
        assert 0 < row["p20"] <= row["p50"] <= row["p80"]
        assert row["gbps"] == pytest.approx(row["bytes"] / row["p50"] / 1e9)
        limit = found[(*of_case, "ceiling", ceiling, ceiling)]
        assert row["share"] == pytest.approx(row["gbps"] / limit["gbps"])
        peers = {OURS: {EAGER, AGAIN}, EAGER: {OURS}}.get(provider, set())
        assert row["faster"].keys() == peers
        for peer in peers:
            other = found[(*of_case, mode, peer, ceiling)]
            quotient = row["faster"][peer]
            assert quotient["ratio"] == pytest.approx(other["p50"] / row["p50"])
            assert 0 < quotient["p20"] <= quotient["p80"]
        if mode == BOTH and provider != AGAIN:
            assert 0 <= row["saved_bytes"] < 1 << 20
        else:
            assert row["saved_bytes"] is None


def test_rows_survive_json():
    case, size = CASES[0], runner.Size(8, 24)
    sets = torch_cases.pool(size, "float32", 1 << 16)
    for row in torch_cases.measure(case, size, "float32", sets, 1, [EAGER]):
        assert runner.Row(**json.loads(json.dumps(row._asdict()))) == row


def test_counted_bytes():
    (tensors,) = torch_cases.pool(runner.Size(10, 8), "bfloat16", 1 << 16)
    (embedding,) = (c for c in CASES if c.name == "cosine_embedding_loss")
    rows, labels = 10 * 8 * 2, 10 * 8
    assert torch_cases.counted_bytes(embedding, tensors, FORWARD) == 2 * rows + labels
    assert torch_cases.counted_bytes(embedding, tensors, BOTH) == 4 * rows + labels


def test_tables(results):
    text = report.torch_tables(report.load(results))
    assert text.count("\n| *again* |") == 2 * len(TOLERANCE)
    assert text.count("\n| `") == 3 * len(TOLERANCE) * len(CASES)
    # A table is one block of lines with as many cells in each.
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_warm_tables_tell_what_is_to_be_reached(results):
    text = report.torch_warm_tables(report.load(results))
    assert "faster than torch; to be reached: 1×." in text
    assert text.count("\n| `") == 2 * len(TOLERANCE) * len(CASES)


def test_losses_are_shown_like_wins(results):
    run, rows = report.load(results)
    mine = [r for r in rows if r["provider"] == OURS]
    mine[0]["faster"][EAGER]["ratio"] = 0.5
    mine[1]["faster"][EAGER]["ratio"] = 2.5
    text = report.torch_tables(report.Results(run, rows))
    assert ", **0.50×** |" in text
    assert ", 2.5× |" in text


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--cases", "none"], ["--sizes", "tiny"], ["--dtype", "int8"]),
        *(["--repeats", "0"], ["--peers", "numpy"]),
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(["torch", *arguments])
    assert arguments[0] in capsys.readouterr().err


def test_names_are_patterns_of_themselves():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set("*?[],") for name in names)


def test_sizes_reach_from_small_to_out_of_cache():
    sizes = [tuple(map(int, text.split("x"))) for text in torch_cases.SIZES.split(",")]
    assert min(sizes, key=math.prod) == (32, 128)
    assert max(sizes, key=math.prod) == (65536, 768)
