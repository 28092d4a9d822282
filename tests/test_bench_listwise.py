"""The bench of listwise losses: providers agree, rows are kept or replaced, tables render."""

import gc
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench import __main__ as command  # noqa: E402
from bench import listwise, listwise_cases, memory, peak, report, runner  # noqa: E402
from bench.listwise_cases import CASES, MISSING  # noqa: E402
from bench.report import (  # noqa: E402
    AGAIN,
    COMPILE,
    EAGER,
    FASTCOS_TORCH,
    NUMPY_PRODUCTS,
    PML,
    ST,
    TORCH_AGAIN,
    TORCH_PRODUCTS,
)
from bench.runner import OURS, Size  # noqa: E402
from fastcos.engine import blocks  # noqa: E402

SIZE = Size(48, 16)
BY_NAME = {case.name: case for case in CASES}
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def exact(case, drawn):
    """The formula in float64."""
    leaves = [torch.from_numpy(x.astype(np.float64)).requires_grad_() for x in drawn.operands]
    labels = () if drawn.labels is None else (torch.from_numpy(drawn.labels),)
    value = case.formula(*leaves, *labels)
    value.backward()
    return listwise_cases.flat((value.detach(), [leaf.grad for leaf in leaves]))


@each_case
def test_providers_agree_with_the_formula(case):
    drawn = listwise_cases.draw(case, SIZE)
    before = [array.copy() for array in drawn.operands]
    expected = exact(case, drawn)
    assert all(np.abs(part).sum(axis=-1).all() for part in expected)  # nothing is skipped
    for name in listwise_cases.chosen(case, SIZE):
        if name == COMPILE:
            continue
        thunk = listwise_cases.call(case, name, SIZE, drawn)
        for _ in range(2):  # gradients do not add up
            listwise_cases.check(case, name, thunk(), expected)
    for array, copy in zip(drawn.operands, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_who_has_what():
    for case in CASES:
        assert {*listwise_cases.chosen(case, SIZE)} == {OURS, *_installed(case)}
    large = Size(8192, 16)
    assert COMPILE not in listwise_cases.chosen(CASES[0], large)
    triplets = BY_NAME["batch_all_triplet_loss"]
    assert listwise_cases.has(triplets, ST, large) == (ST not in MISSING)
    assert not listwise_cases.has(triplets, PML, Size(513, 16))
    assert listwise_cases.chosen(CASES[0], SIZE, []) == [OURS, FASTCOS_TORCH]


def _installed(case):
    return {FASTCOS_TORCH, EAGER, COMPILE, *case.others} - {*MISSING}


@each_case
@pytest.mark.parametrize("most", [1 << 26, 1 << 12])
def test_blocks_of_the_ceiling_are_those_of_a_call(case, most, monkeypatch):
    heights, prepared = [], blocks.prepared

    def recorded(*arguments):
        heights.append(prepared(*arguments).height)
        return prepared(*arguments)

    monkeypatch.setattr(blocks, "prepared", recorded)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", most)
    drawn = listwise_cases.draw(case, SIZE)
    listwise_cases.call(case, OURS, SIZE, drawn)()
    height = listwise_cases.height(case, SIZE.n, len(drawn.operands[-1]))
    assert heights == [height]
    limits = dict(listwise_cases.ceilings(case, drawn))
    names = {NUMPY_PRODUCTS, TORCH_PRODUCTS}
    if height < SIZE.n:
        names |= {listwise_cases.WHOLE.format(name) for name in names}
    assert limits.keys() == names
    for products in limits.values():
        products()


@pytest.mark.parametrize(
    ("result", "named"),
    [
        ((1.01, [np.array([[1.0, 2.0]])]), "value of eager is off"),
        ((1.0, [np.array([[1.0, 2.1]])]), "gradient 1 of eager is off"),
        ((1.0, [np.array([[1.0, np.nan]])]), "gradient 1 of eager is off"),
        ((1.0, [np.array([1.0, 2.0])]), "gradient 1 of eager has shape"),
        ((1.0, []), "eager has 0 gradients, not 1"),
    ],
)
def test_what_does_not_agree_is_found(result, named):
    expected = [np.array(1.0), np.array([[1.0, 2.0]])]
    listwise_cases.check(CASES[0], EAGER, (1.0, [np.array([[1.0, 2.0]])]), expected)
    with pytest.raises(ValueError, match=named):
        listwise_cases.check(CASES[0], EAGER, result, expected)


@pytest.fixture
def quick(monkeypatch):
    """Runs that measure next to nothing, and memory not at all."""

    def peaks(case, provider, sizes):
        return {size: 4096 * size.n if provider != EAGER else peak.UNKNOWN for size in sizes}

    monkeypatch.setattr(peak, "peaks", peaks)
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)
    monkeypatch.setattr(runner, "SAMPLE", 0.0)
    monkeypatch.setattr(listwise, "_TIME", 0.0)


def _run(path, *given):
    options = ["--peers", EAGER, "--repeats", "2", "--json", str(path), *given]
    assert command.main(["listwise", *options]) == 0
    return report.load(path)


NAMES = "info_nce_loss,batch_all_triplet_loss"


def test_rows(quick, tmp_path):
    run, rows = _run(tmp_path / "rows.jsonl", "--cases", NAMES, "--sizes", "48x16,24x16")
    assert run["command"].startswith("python -m bench listwise --peers eager")
    assert run["blas"]
    assert run["torch_threads"] == torch.get_num_threads()
    found = {(r["case"], r["n"], r["provider"]): r for r in rows}
    providers = {
        *(NUMPY_PRODUCTS, TORCH_PRODUCTS),
        *(OURS, FASTCOS_TORCH, EAGER, AGAIN, TORCH_AGAIN),
    }
    names = NAMES.split(",")
    assert found.keys() == {(c, n, p) for c in names for n in (24, 48) for p in providers}
    assert len(found) == len(rows)
    for (case, n, provider), row in found.items():
        assert row.keys() == {*listwise.Row._fields, "kind"}
        assert 0 < row["least"] <= row["p50"]
        assert row["repeats"] == (2 if provider in (AGAIN, TORCH_AGAIN) else 3)
        arrays = provider in (OURS, AGAIN, NUMPY_PRODUCTS)
        limit = found[case, n, NUMPY_PRODUCTS if arrays else TORCH_PRODUCTS]
        assert row["share"] == pytest.approx(limit["least"] / row["least"])
        known = provider in (OURS, FASTCOS_TORCH)
        assert (row["peak_bytes"], row["no_peak"]) == (
            (4096 * n, "") if known else (None, "unknown")
        )
        others = {
            OURS: {FASTCOS_TORCH, EAGER, AGAIN},
            FASTCOS_TORCH: {OURS, EAGER, TORCH_AGAIN},
        }
        assert row["faster"].keys() == others.get(provider, set())
        for peer, ratio in row["faster"].items():
            assert ratio == pytest.approx(found[case, n, peer]["least"] / row["least"])


def test_rows_that_are_not_measured_stay(quick, tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.jsonl"
    _run(path, "--cases", NAMES, "--sizes", "24x16")
    monkeypatch.setenv("FASTCOS_COMMIT", "later")
    monkeypatch.setattr(peak, "peaks", None)
    run, rows = _run(path, "--cases", "info*s", "--sizes", "24x16,32x16", "--no-peaks")
    assert run["commit"] == "later"
    shapes = [("info_nce_loss", 24), ("info_nce_loss", 32), ("batch_all_triplet_loss", 24)]
    assert list(dict.fromkeys((r["case"], r["n"]) for r in rows)) == shapes
    for row in rows:
        assert (row["commit"] == "later") == (row["case"] == "info_nce_loss")
        kept = row["provider"] in (OURS, FASTCOS_TORCH) and row["n"] == 24
        assert (row["peak_bytes"] == 24 * 4096) == kept

    entries = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([json.dumps({**run, "cpu": "another"}), *entries[1:]]) + "\n")
    with pytest.raises(SystemExit):
        command.main(["listwise", "--cases", "info*s", "--json", str(path)])
    assert "is of other cpu: name another file" in capsys.readouterr().err
    # Unless all is measured.
    monkeypatch.setattr(listwise, "_run", lambda cases, sizes, *given: len(cases))
    assert command.main(["listwise", "--json", str(path)]) == len(CASES)
    assert report.load(path).rows == []


def test_who_lacks_memory_is_left_out(quick, monkeypatch, capsys):
    case = BY_NAME["info_nce_loss"]
    rows = listwise.measure(case, SIZE, 1, [EAGER], {EAGER: peak.MEMORY, OURS: 7})
    by_name = {row.provider: row for row in rows}
    assert (by_name[EAGER].least, by_name[EAGER].left_out) == (None, peak.MEMORY)
    assert by_name[OURS].peak_bytes == 7
    assert "info_nce_loss 48x16: eager is left out (memory)" in capsys.readouterr().out

    def lacking(x, y):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    big = case._replace(formula=lambda x, y: lacking(x, y) if len(x) > 64 else case.formula(x, y))
    rows = listwise.measure(big, Size(65, 16), 1, [EAGER])
    (row,) = (row for row in rows if row.provider == EAGER)
    assert (row.least, row.left_out, row.no_peak) == (None, peak.MEMORY, peak.UNKNOWN)
    assert "eager" not in {name for row in rows for name in row.faster}


def test_a_run_fails_where_a_contender_is_wrong(quick, monkeypatch, capsys):
    wrong = CASES[0]._replace(formula=lambda x, y: 1.01 * CASES[0].formula(x, y))
    monkeypatch.setattr(listwise, "CASES", (wrong,))
    given = ["listwise", "--sizes", "24x16", "--repeats", "1", "--peers", EAGER]
    assert command.main(given) == 1
    told = capsys.readouterr()
    assert "ValueError: value of eager is off by 0.01" in told.err
    assert "fastcos" not in told.out


def test_slow_calls_are_timed_once(quick, monkeypatch):
    def repeats():
        rows = listwise.measure(CASES[0], SIZE, 9, [EAGER])
        return {row.provider: row.repeats for row in rows}

    monkeypatch.setattr(listwise, "_TIME", 1e9)
    assert {repeats().pop(name) for name in (OURS, EAGER)} == {10}
    monkeypatch.setattr(listwise, "SLOW", 0.0)
    names = (NUMPY_PRODUCTS, TORCH_PRODUCTS, OURS, FASTCOS_TORCH, EAGER)
    assert repeats() == dict.fromkeys(names, 2)
    monkeypatch.setattr(listwise, "LONG", 0.0)
    assert repeats() == dict.fromkeys(names, 1)


def test_what_is_compiled_is_called_before_it_is_timed(quick):
    rows = listwise.measure(CASES[0], SIZE, 1, [EAGER, COMPILE])
    by_name = {row.provider: row for row in rows}
    assert by_name[COMPILE].repeats == 2
    assert by_name[FASTCOS_TORCH].faster.keys() == {OURS, EAGER, COMPILE, TORCH_AGAIN}


# --------------------------------------------------------------------------------------------------
# Memory
# --------------------------------------------------------------------------------------------------


def _bytes_are_known():
    return isinstance(peak.peak_bytes(lambda: None), int)


def test_the_peak_of_a_process_of_its_own(capfd):
    sizes = [Size(2048, 16), Size(1024, 16)]
    found = peak.peaks(CASES[0], EAGER, sizes)
    assert capfd.readouterr().err == ""
    assert list(found) == sizes
    if not _bytes_are_known():
        assert {*found.values()} == {peak.UNKNOWN}
        return
    for size, bytes_ in found.items():  # at least the logits and their gradient
        assert 8 * size.n**2 < bytes_ < 40 * size.n**2 + (8 << 20)


def test_peak_bytes_are_those_at_once():
    if not _bytes_are_known():
        pytest.skip("this system does not say")

    def thunk():
        np.ones(3 << 20)
        return np.ones(5 << 20)

    assert 0.9 < peak.peak_bytes(thunk) / (8 * 5 << 20) < 1.3


def test_memory_that_is_not_enough(monkeypatch, capsys):
    pytest.importorskip("resource")
    monkeypatch.setattr(memory, "_available", lambda: 64 << 20)
    drawn, draw = [], peak.draw
    monkeypatch.setattr(peak, "draw", lambda case, size: drawn.append(size.n) or draw(case, size))
    sizes = ["300x16", "9000x16", "8000x16"]
    if not memory._STATUS.exists():
        pytest.skip("this system does not say")
    assert peak.main(["info_nce_loss", EAGER, *sizes]) == 0
    found = dict(json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert found.pop("300x16") != peak.MEMORY
    assert found == {"8000x16": peak.MEMORY, "9000x16": peak.MEMORY}
    assert drawn == [256, 300, 8000]
    np.ones(16 << 20)  # the limit is gone


def test_a_peak_that_is_not_found_is_told(capsys, quick, monkeypatch):
    monkeypatch.undo()
    broken = CASES[0]._replace(name="none")
    assert peak.peaks(broken, EAGER, [SIZE]) == {SIZE: peak.FAILED}
    assert "peak of eager, none, is not known for all sizes" in capsys.readouterr().err
    monkeypatch.setattr(peak, "peaks", lambda case, provider, sizes: {sizes[0]: peak.FAILED})
    monkeypatch.setattr(listwise, "measure", lambda *given: [])
    monkeypatch.setattr(report, "listwise_lines", lambda rows: "")
    given = ["listwise", "--cases", "info_nce_loss", "--sizes", "24x16"]
    assert command.main(given) == 1
    assert command.main([*given, "--no-peaks"]) == 0


# --------------------------------------------------------------------------------------------------
# Shown
# --------------------------------------------------------------------------------------------------


def _result(provider, n=1024, **given):
    row = listwise.Row(
        *("info_nce_loss", provider, n, 128, "float32", n, n),
        *(1e-3, 2e-3, 3, 1, 0.5, {}, "", 1 << 20, "", 0.01, "0", "2026-01-01"),
    )
    return {"kind": "result", **row._asdict(), **given}


RUN = {
    **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
    **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
    **{"blas": "some", "torch_threads": 2, "memory": 1 << 34, "kind": "run"},
}


def test_tables():
    faster = {OURS: 1.1, EAGER: 2.0, COMPILE: 0.5, PML: 12.0, TORCH_AGAIN: 1.04}
    rows = [
        _result(OURS),
        _result(FASTCOS_TORCH, faster=faster, peak_bytes=3 << 20, commit="before"),
        _result(EAGER, peak_bytes=2 << 20),
        _result(PML, peak_bytes=None, no_peak="memory"),
        _result(OURS, 4096, peak_bytes=None, no_peak="unknown"),
        _result(FASTCOS_TORCH, 4096, faster={OURS: 1.0}),
        _result(EAGER, 4096, least=None, left_out="memory", peak_bytes=None, no_peak="memory"),
    ]
    text = report.listwise_tables(report.Results(RUN, rows))
    assert (
        "| `info_nce_loss` 1,024 × 128 | 1 ms | 50% | 1 ms | 50% | 1.04 | 2.0× | **0.50×**"
        " | 12× PML | 1 MiB | **3 MiB** | 2 MiB | does not fit PML |\n"
    ) in text
    assert (
        "| `info_nce_loss` 4,096 × 128 | 1 ms | 50% | 1 ms | 50% | – | does not fit | – | –"
        " | – | 1 MiB | does not fit | – |\n"
    ) in text
    assert "In 1 of 3 comparisons fastcos is the slower one." in text
    assert "Some rows are of before." in text
    lines = report.listwise_lines(rows).splitlines()
    assert lines[0] == "info_nce_loss  1024x128, blocks of 1024"
    assert lines[2].endswith("2.0× eager, **0.50×** compile, 12× pml, 1.04 fastcos-torch again")
    assert "left out" in lines[-1]


def test_report_and_check(tmp_path, capsys):
    """The page of this repository copes with results and without."""
    (tmp_path / report.RESULTS).mkdir(parents=True)
    page = tmp_path / "docs" / "speed" / "batches.md"
    page.parent.mkdir(parents=True)
    shutil.copy(report.ROOT / "docs" / "speed" / page.name, page)
    given = ["--root", str(tmp_path)]
    rows = [
        _result(provider, n, peak_bytes=peak_bytes, no_peak="" if peak_bytes else "memory")
        for n in (1024, 4096)
        for provider, peak_bytes in ((FASTCOS_TORCH, 8 * n), (EAGER, 0 if n > 1024 else 8 * n**2))
    ]
    for row in rows:
        row["peak_bytes"] = row["peak_bytes"] or None
    path = tmp_path / report.RESULTS / report.LISTWISE
    path.write_text("\n".join(map(json.dumps, [RUN, *rows])) + "\n", encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "\n| `info_nce_loss` 4,096 × 128 | " in text
    assert f"]({report.FROM_PAGES}/listwise.png)" in text
    assert (path.parent / report.LISTWISE_PICTURE).stat().st_size > 10_000
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert "| info_nce_loss | eager | 4096x128 | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "given"),
    [
        *(("--cases", "none"), ("--sizes", "9of9x24"), ("--sizes", "1x8")),
        *(("--repeats", "0"), ("--peers", "numpy"), ("--device", "cuda")),
    ],
)
def test_bad_arguments(option, given, capsys):
    with pytest.raises(SystemExit):
        command.main(["listwise", option, given])
    assert option in capsys.readouterr().err


def test_names_are_patterns_of_themselves():
    names = [case.name for case in CASES]
    assert len({*names}) == len(names)
    assert not any({*name} & {*"*?[],"} for name in names)
    for case in CASES:
        assert all(listwise_cases.sized(text) for text in case.sizes.split(","))
