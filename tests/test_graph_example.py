"""The example that learns a table from the edges of a graph."""

import importlib.util
import pathlib

import numpy as np
import pytest

pytest.importorskip("sklearn")

_PATH = pathlib.Path(__file__).parent.parent / "examples" / "embed_graph.py"
_SPEC = importlib.util.spec_from_file_location("embed_graph", _PATH)
example = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(example)


def test_the_table_tells_held_out_edges_from_other_pairs():
    rng = np.random.default_rng(1)
    graph = example.load(rng)
    table, losses = example.train(graph, rng, epochs=15)
    assert losses[-1] < 0.5 * losses[0]
    start = rng.standard_normal(table.shape, dtype=np.float32)
    assert abs(example.auc(start, graph, rng) - 0.5) < 0.05
    assert example.auc(table, graph, rng) > 0.9
