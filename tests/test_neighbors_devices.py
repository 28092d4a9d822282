"""Neighbours of arrays that are elsewhere: a simulated GPU, tensors that are taken for a GPU's."""

import devices
import ml_dtypes
import numpy as np
import pytest
import torch

import fastcos

pytestmark = pytest.mark.simulated
DISTANCES = ("cosine", "euclidean", "dot", "manhattan")


@pytest.fixture
def library(monkeypatch):
    devices.forget()
    devices.simulated(monkeypatch)
    yield devices._simulated()[1]
    devices.forget()


def drawn(kind, rows, features=5, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, features))
    if kind == "cone":
        x = np.arange(1, features + 1) + 1e-4 * x
    elif kind == "twins":
        x[rows // 2 :] = x[: rows - rows // 2]
    elif kind == "odd":
        x[1], x[2], x[3, 0] = 0, x[2] * 1e18, np.nan
    return x.astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["ordinary", "cone", "twins", "odd"])
def test_nearest_is_that_of_the_host(library, kind, distance):
    queries, gallery = drawn(kind, 6), drawn(kind, 40, seed=1)
    queries[0] = gallery[7]
    expected = fastcos.nearest(queries, gallery, 4, distance)
    there = library.asarray(queries), library.asarray(gallery)
    found = fastcos.nearest(*there, 4, distance, block=16)
    assert isinstance(found.indices, library.ndarray)
    np.testing.assert_array_equal(library.asnumpy(found.indices), expected.indices)
    np.testing.assert_allclose(
        library.asnumpy(found.distances), expected.distances, rtol=1e-6, atol=0
    )


def test_more_than_a_list_holds(library, monkeypatch):
    monkeypatch.setattr(fastcos.engine.lists_host, "ROOM", 2)
    gallery = np.repeat(drawn("ordinary", 5), 6, axis=0)
    expected = fastcos.nearest(gallery, None, 3)
    found = fastcos.nearest(library.asarray(gallery), None, 3)
    np.testing.assert_array_equal(library.asnumpy(found.indices), expected.indices)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pairs_and_groups_are_those_of_the_host(library, distance):
    x = drawn("twins", 24)
    there = library.asarray(x)
    for y in (None, x[:9]):
        expected = fastcos.neighbors_within(x, y, 0.4, distance)
        found = fastcos.neighbors_within(
            there, None if y is None else library.asarray(y), 0.4, distance, block=7
        )
        for each, of in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(library.asnumpy(each), of)
    threshold = 0.9 if distance in ("cosine", "dot") else 0.4
    np.testing.assert_array_equal(
        library.asnumpy(fastcos.near_duplicates(there, threshold, distance)),
        fastcos.near_duplicates(x, threshold, distance),
    )


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_pairwise_is_that_of_the_host(library, distance, dtype):
    x, y = drawn("odd", 7).astype(dtype), drawn("cone", 9).astype(dtype)
    expected = fastcos.pairwise(x, y, distance).astype(float)
    there = library.asarray(x), library.asarray(y)
    found = library.asnumpy(fastcos.pairwise(*there, distance)).astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == np.float32 else 8e-3)


@pytest.mark.parametrize("kind", ["ordinary", "twins", "odd"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_tensors_that_are_taken_for_a_gpus(tensors_lent, kind, distance):
    queries, gallery = drawn(kind, 6), drawn(kind, 30, seed=1)
    there = torch.from_numpy(queries), torch.from_numpy(gallery)
    expected = fastcos.nearest(queries, gallery, 4, distance)
    found = fastcos.nearest(*there, 4, distance, block=16)
    np.testing.assert_array_equal(found.indices.numpy(), expected.indices)
    np.testing.assert_allclose(found.distances.numpy(), expected.distances, rtol=1e-6)
    pairs, right = (fastcos.neighbors_within(x, None, 0.4, distance) for x in (there[1], gallery))
    np.testing.assert_array_equal(pairs.indices.numpy(), right.indices)
    whole, of_host = (
        fastcos.pairwise(*there, distance),
        fastcos.pairwise(queries, gallery, distance),
    )
    np.testing.assert_allclose(whole.numpy(), of_host, rtol=1e-6)
