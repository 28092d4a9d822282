"""The scripts of the documents run as they are written; those of other engines where these are."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

SCALE = pathlib.Path(__file__).parents[1] / "docs" / "scale.md"
SCRIPTS = dict(
    re.findall(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", SCALE.read_text("utf-8"), re.DOTALL)
)
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
    "spark": THE_SAME,
    "ray": THE_SAME,
}
NEEDS = {"dask": ("dask",), "spark": ("pyspark", "pyarrow", "pandas"), "ray": ("ray", "pandas")}


@pytest.mark.parametrize("name", BEFORE)
def test_a_script_runs_as_written(name):
    for module in NEEDS[name]:
        if not importlib.util.find_spec(module):
            pytest.skip(f"no {module} here")
    code = BEFORE[name] + SCRIPTS[name] + AFTER[name]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_script_is_known():
    assert SCRIPTS.keys() == BEFORE.keys()
