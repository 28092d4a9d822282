"""What the documents show: scripts run as they are, commands are taken, names are all there.

Examples with prompts are doctests, which pytest finds by itself. Scripts of other engines run where
these are.
"""

import importlib
import importlib.metadata
import os
import pathlib
import re
import shlex
import subprocess
import sys

import devices
import pytest

from fastcos import __main__ as command_line

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    if not {"_build", "auto_gallery"} & set(page.parts)
}
#: The scripts that are no doctests, by the name of what they need.
SCRIPTS = {
    name: code
    for text in PAGES.values()
    for name, code in re.findall(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", text, re.DOTALL)
}
#: What the scripts of other engines find: pairs, in their form, and a projection.
PAIRS = """
import numpy as np
rng = np.random.default_rng(0)
x, y = rng.standard_normal((2, 5000, 32)).astype(np.float32)
label = np.where(rng.random(5000) < 0.5, 1, -1)
projection = rng.standard_normal((32, 8)).astype(np.float32)
"""
BEFORE = {
    "dask": "",
    "torch": "",
    "spark": PAIRS
    + """
import pyarrow as pa
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
table = {"first": pa.array(list(x)), "second": pa.array(list(y)), "label": label}
pairs = spark.createDataFrame(pa.table(table))
""",
    "ray": PAIRS
    + """
import ray
ray.init(num_cpus=2, include_dashboard=False)
numbers = ray.data.from_numpy(np.arange(5000))
pairs = numbers.map_batches(
    lambda b: {"first": x[b["data"]], "second": y[b["data"]], "label": label[b["data"]]}
)
""",
}
THE_SAME = """
import fastcos
value, (gx, gy) = fastcos.value_and_grad(fastcos.cosine_embedding_loss)(
    x @ projection, y @ projection, label
)
np.testing.assert_allclose(loss, value, rtol=1e-5)
np.testing.assert_allclose(slope, (x.T @ gx + y.T @ gy).ravel(), atol=1e-7)
"""
AFTER = {
    "dask": """
import numpy as np
x, y, target, grad_x, rows = dask.compute(x, y, target, grad_x, neighbours.indices)
there, (grad, _) = loss_and_grad(x, y, target, margin=0.2)
assert np.array_equal(grad, grad_x) and abs(there - loss) < 1e-6 and size == abs(grad).max()
assert np.array_equal(rows, fastcos.nearest(x[:1000], y, 10).indices)
assert report == fastcos.measures.verification(fastcos.cosine_similarity(x, y), target)
""",
    "torch": """
module = model.module
alone = SupConLoss()(module(x), y)
(slope,) = torch.autograd.grad(alone, module.weight)
torch.testing.assert_close(loss, alone)
torch.testing.assert_close(module.weight.grad, slope)
assert world_size == 2
import os
# Of short scripts with gloo that end by themselves, without fastcos too, torch aborts one in seven.
os._exit(0)
""",
    "spark": THE_SAME,
    "ray": THE_SAME,
}
NEEDS = {
    "dask": ("dask",),
    "torch": ("torch",),
    "spark": ("pyspark", "pyarrow", "pandas"),
    "ray": ("ray", "pandas"),
}
#: How scripts are started, where that is not by Python alone.
LAUNCHED = {"torch": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")}


@pytest.mark.parametrize("name", BEFORE)
def test_a_script_runs_as_written(name, tmp_path):
    for module in NEEDS[name]:
        if not importlib.util.find_spec(module):
            pytest.skip(f"no {module} here")
    script = tmp_path / "script.py"
    script.write_text(BEFORE[name] + SCRIPTS[name] + AFTER[name], "utf-8")
    done = subprocess.run(
        [sys.executable, *LAUNCHED.get(name, ()), str(script)],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.simulated
def test_a_script_of_cupy_on_the_simulated_gpu(monkeypatch):
    devices.forget()
    monkeypatch.setitem(sys.modules, "cupy", devices.simulated(monkeypatch)[1])
    exec(SCRIPTS["cupy"], {})
    devices.forget()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "cupy_graph"])
def test_a_script_of_cupy(name):
    cupy = pytest.importorskip("cupy", reason="no CuPy here")
    if not cupy.cuda.is_available():
        pytest.skip("no GPU here")
    exec(SCRIPTS[name], {})


def test_every_script_is_known():
    assert SCRIPTS.keys() == {*BEFORE, "cupy", "cupy_graph"}


#: What blocks of pages are. Of those of Python every one runs, and so it is to be found.
FENCES = {"python", "sh", "text", "dockerfile", "{eval-rst}", "{include}", "{toctree}"}


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_executed(page):
    fences = re.findall(r"^ *(?:`{3,}|~{3,})(\S*)", PAGES[page], re.MULTILINE)
    assert set(fences[::2]) <= FENCES, page
    assert set(fences[1::2]) <= {""}, page
    for marker, code in re.findall(
        r"(<!-- runs: \w+ -->\n)?```python\n(.*?)```", PAGES[page], re.DOTALL
    ):
        assert marker or code.startswith(">>> "), (
            f"{page} has an example that nothing runs:\n{code}"
        )


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_taken(page):
    """What a page has people type: files that are there, extras that there are, our own options."""
    extras = set(importlib.metadata.metadata("fastcos").get_all("Provides-Extra"))
    for block in re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            for extra in re.findall(r"(?:^|\.|fastcos)\[([\w,]+)\]", " ".join(words)):
                assert set(extra.split(",")) <= extras, line
            for word in words:
                if re.match(r"(examples|bench|docs|tests)/.*\w$", word):
                    assert (ROOT / word).exists() or "_build" in word, line
            if words[:1] == ["fastcos"]:
                words[:1] = ["python", "-m", "fastcos"]
            if words[:3] == ["python", "-m", "fastcos"]:
                command_line._parser().parse_args(words[3:])


def test_the_reference_has_every_public_name():
    listed = set()
    for name, text in PAGES.items():
        if name.startswith("docs/reference/"):
            module = None
            for line in text.splitlines():
                if line.startswith(".. currentmodule:: "):
                    module = line.removeprefix(".. currentmodule:: ")
                elif re.fullmatch(r"   \w+", line):
                    listed.add(f"{module}.{line.strip()}")
    modules = "", ".distances", ".measures", ".plots", ".listwise", ".sklearn", ".adapters.torch"
    wanted = set()
    for module in modules:
        names = importlib.import_module(f"fastcos{module}").__all__
        wanted |= {f"fastcos{module}.{name}" for name in names}
    elsewhere = {
        # Modules, the version, and records that two modules name.
        *("fastcos.__version__", "fastcos.distances", "fastcos.measures", "fastcos.plots"),
        *("fastcos.distances.Distance", "fastcos.listwise.Listwise"),
    }
    assert listed == wanted - elsewhere


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"]
)
def test_links_lead_somewhere(page):
    """Those of pages outside the site, whose own links its build follows; so do headings."""
    text = (ROOT / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", link):
            path, _, heading = link.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), f"{page} links to {link}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
                assert heading in slugs, f"{page} links to {link}"
