"""Cycles of distances: that loops are found in assembly, and what is rendered of them."""

import json
import platform
import shlex
import stat
import sys

import pytest

from bench import __main__ as command
from bench import ports, report

#: A loop of sums of 8 + 8 float32 numbers, one of gradients, and one around the first.
ASSEMBLY = """
_other_function:
.LBB9_1:
\tvaddpd\t(%rax), %zmm0, %zmm0
\tjne\t.LBB9_1
_ZN4pair_kernel_3clocals_3e6kernel:
\t.cfi_startproc
\tmovq\t%rdi, %rax
.LBB0_1:
\txorl\t%ecx, %ecx
.LBB0_2:
\tvcvtps2pd\t(%rsi,%rcx,4), %zmm1
\tvcvtps2pd\t32(%rsi,%rcx,4), %zmm2
\tvcvtps2pd\t(%rdx,%rcx,4), %zmm3
\tvcvtps2pd\t32(%rdx,%rcx,4), %zmm4
\tvsubpd\t%zmm3, %zmm1, %zmm1
\tvsubpd\t%zmm4, %zmm2, %zmm2
\tvfmadd231pd\t%zmm1, %zmm1, %zmm5
\tvfmadd231pd\t(%rsp), %zmm2, %zmm6  # spilled
\tjne\t.LBB0_2
\tjne\t.LBB0_1
.LBB0_3:
\tvmovups\t(%rsi,%rcx,4), %zmm1
\tvsubps\t(%rdx,%rcx,4), %zmm1, %zmm1
\tvmulps\t.LCPI0_1(%rip){1to16}, %zmm1, %zmm2
\tvmovups\t%zmm1, (%r8,%rcx,4)
\tvmovups\t%zmm2, (%r9,%rcx,4)
\tjne\t.LBB0_3
"""


def test_loops_of_the_kernel_are_found():
    sums, gradients = ports.loops(ASSEMBLY)
    assert (len(sums.lines), sums.read, sums.written) == (9, 2 * 16 * 4, 0)
    assert (len(gradients.lines), gradients.read, gradients.written) == (6, 128, 2 * 16 * 4)
    both = [sums, gradients]
    assert ports.chosen(both, gradient=False, double=True) == sums
    assert ports.chosen(both, gradient=True, double=False) == gradients
    for gradient in (False, True):
        with pytest.raises(ValueError, match="empty"):
            ports.chosen(both, gradient, double=gradient)


#: What stands in for llvm-mca: two ports, of which one is busy for a cycle by each instruction.
PROGRAM = """#!{python}
import json, sys
if "--version" in sys.argv:
    print("Some LLVM version 19\\n  Optimized build."), sys.exit()
count = sum(line.startswith("\\t") for line in sys.stdin)
used = [dict(InstructionIndex=i, ResourceIndex=1, ResourceUsage=1) for i in range(count)]
used += [dict(InstructionIndex=0, ResourceIndex=0, ResourceUsage=1)]
used += [dict(InstructionIndex=count, ResourceIndex=0, ResourceUsage=9 * count)]
region = dict(
    Instructions=[""] * count,
    SummaryView=dict(TotalCycles=400 * count, Iterations=200, BlockRThroughput=count),
    ResourcePressureView=dict(ResourcePressureInfo=used),
)
resources = ["Zn4FP0", "Zn4FP45.\\0"]
print(json.dumps(dict(CodeRegions=[region], TargetInfo=dict(Resources=resources))))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="assembly of x86")
@pytest.mark.skipif(sys.platform == "win32", reason="no scripts")
def test_it_runs_and_renders(tmp_path, capsys, monkeypatch):
    program = tmp_path / "mca"
    program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(ports, "_REPEATS", 2)
    path = tmp_path / report.PORTS
    given = ["--mca", str(program), "--cpus", "znver4", "--distances", "euclidean"]
    assert command.main(["ports", *given, "--dtype", "float32", "--json", str(path)]) == 0
    assert capsys.readouterr().out.startswith("znver4          euclidean   float32   value ")
    run, rows = report.load(path)
    assert run["clock"] > 1e8
    assert run["mca"] == "Some LLVM version 19"
    assert [row["mode"] for row in rows] == ["value", "gradient"]
    for row in rows:
        assert row["ports"] == ["Zn4FP45"]
        assert row["ports_cycles"] == row["instructions"] == row["cycles"] / 2
        assert row["numbers"] in (4, 8, 16, 32, 64, 128, 256)
        assert not row["calls"]
    text = report.ports_tables(report.Results(run, rows))
    assert text.count("\n| `euclidean`, float32 |") == 2


def test_what_memory_leaves():
    def row(mode, cycles, seconds, gbps, calls=0):
        return {
            **{"processor": "znver4", "distance": "dot", "dtype": "float32", "mode": mode},
            **{"numbers": 16, "cycles": cycles, "ports": ["Zn4FP1"], "calls": calls},
            **{"seconds": seconds, "gbps": gbps, "share": 0.84},
        }

    run = {
        **dict.fromkeys(("cpu", "architecture", "threads", "threading_layer"), "some"),
        **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
        **{"cores": 2, "clock": 4e9, "mca": "LLVM 19"},
    }
    rows = [row("value", 16, 0.5e-9, 32.0), row("gradient", 24, 1.6e-9, 40.0)]
    text = report.ports_tables(report.Results(run, rows))
    # 8 bytes at 4 a cycle for each core; 16 at 5, of which 6.4 cycles leave a half.
    assert "| `dot`, float32 | 1.00 (FP1) | 2.00 | 2.00 | 100% | **84%** |" in text
    assert "| `dot`, float32 | 2.50 (FP1) | 6.40 | 3.20 | **50%** | **84%** |" in text
    rows[0]["calls"] = 16
    assert text.count("calls `pow`") == 0
    assert report.ports_tables(report.Results(run, rows)).count("calls `pow`") == 2


def test_a_program_that_is_not_there(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["ports", "--mca", "no-such-mca"])
    assert ended.value.code == 2
    assert "there is no no-such-mca here; see --mca" in capsys.readouterr().err


def test_the_committed_results_are_of_the_command():
    path = report.ROOT / report.RESULTS / report.PORTS
    run = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    notes = (report.ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    assert run["command"] in notes
    assert shlex.split(run["command"])[3] == "ports"
