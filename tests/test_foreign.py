"""What is no array of a library that fastcos knows: taken, or refused with what to do about it.

Light fakes have what the objects of a library have, which is all that fastcos looks at; the tests
of the libraries themselves are skipped where these are not installed.
"""

import array
import decimal
import fractions
import importlib.util

import ml_dtypes
import numpy as np
import pytest

import fastcos
from fastcos.adapters.numpy import asarray

rng = np.random.default_rng(12)
X, Y = rng.standard_normal((2, 4, 3))
T = np.array([1.0, -1.0, 1.0, -1.0])


def refused(value, message, name="x1"):
    with pytest.raises(TypeError, match=message) as caught:
        asarray(name, value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------
# Not in memory
# --------------------------------------------------------------------------------------------------


class Unread:
    """Numbers that are somewhere else until somebody asks for them; nobody may."""

    shape, dtype = X.shape, X.dtype

    def __array__(self, *args, **kwargs):
        raise AssertionError("read whole")


class Dask(Unread):
    chunks = ((2, 2), (3,))

    def __dask_graph__(self):
        return {}


class DaskFrame(Unread):
    def __dask_graph__(self):
        return {}


class Dataset(Unread):
    """As of h5py, which has none where a dataset is in one piece."""

    chunks = None


class Zarr(Unread):
    chunks = (2, 3)


class Variable(Unread):
    """As of netCDF4."""

    def chunking(self):
        return "contiguous"


class Leaf:
    """As of PyTables, which is read as a sequence."""

    dtype, chunkshape = X.dtype, None

    def __init__(self):
        self.shape = X.shape

    def __len__(self):
        return len(X)

    def __getitem__(self, at):
        raise AssertionError("read whole")


class TensorStore(Unread):
    chunk_layout = None


class Compressed:
    """As of blosc2: decompressed for whoever asks."""

    chunks, dtype = (2, 3), X.dtype

    @property
    def __array_interface__(self):
        raise AssertionError("read whole")


class DataArray:
    """As of xarray: of Dask, of a file, or in memory."""

    chunks, shape, dtype = None, X.shape, X.dtype

    def __init__(self, values=None, graph=None):
        self._values, self._graph = values, graph
        self._in_memory = values is not None

    def __dask_graph__(self):
        return self._graph

    def __array__(self, *args, **kwargs):
        assert self._in_memory
        return self._values


ON_PIECES = r"call fastcos on its pieces, by map_blocks .*pass {}\.compute\(\)$"
AS_A_WHOLE = r"as one array: pass {0}\[:\], or np\.asarray\({0}\)$"
ELSEWHERE = {
    "dask": (Dask(), ON_PIECES),
    "dask.dataframe": (DaskFrame(), ON_PIECES),
    "h5py": (Dataset(), AS_A_WHOLE),
    "zarr": (Zarr(), AS_A_WHOLE),
    "netCDF4": (Variable(), AS_A_WHOLE),
    "tables": (Leaf(), AS_A_WHOLE),
    "tensorstore": (TensorStore(), AS_A_WHOLE),
    "blosc2": (Compressed(), AS_A_WHOLE),
    "xarray of dask": (DataArray(graph={}), ON_PIECES),
    "xarray of a file": (DataArray(), r"pass {}\.compute\(\)$"),
}
ARGUMENTS = {
    "input1": lambda f, v: f(v, Y, T),
    "input2": lambda f, v: f(X, v, T),
    "target": lambda f, v: f(X, Y, v),
    "weight": lambda f, v: f(X, Y, T, weight=v),
    "grad_output": lambda f, v: f(X, Y, T, reduction="none", grad_output=v),
}


@pytest.mark.parametrize("library", ELSEWHERE)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_not_in_memory_is_refused_for_every_argument(name, library):
    value, advice = ELSEWHERE[library]
    kind = type(value).__name__
    message = f"^{name} is a test_foreign {kind}, which is not in memory.*" + advice.format(name)
    with pytest.raises(TypeError, match=message):
        ARGUMENTS[name](fastcos.value_and_grad(fastcos.cosine_embedding_loss), value)


@pytest.mark.parametrize("library", ELSEWHERE)
def test_nor_is_it_taken_out_of_a_list(library):
    value, advice = ELSEWHERE[library]
    refused([X, value], r"^x1\[1\] is a .*" + advice.format(r"x1\[1\]"))


@pytest.mark.parametrize("library", ELSEWHERE)
def test_nor_out_of_a_list_of_lists(library):
    value, advice = ELSEWHERE[library]
    refused([[value], [value]], r"^x1\[0\]\[0\] is a .*" + advice.format(r"x1\[0\]\[0\]"))


def test_nor_by_torch():
    torch = pytest.importorskip("torch")
    for value, _ in ELSEWHERE.values():
        with pytest.raises(TypeError, match=r"^weights\[0\] is a .* not in memory"):
            fastcos.cosine_distance_loss(torch.ones(1, 3), torch.ones(1, 3), weights=[value])


def test_beside_tensors_it_is_called_what_it_is():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"x1 is a torch array and x2 is a test_foreign Dask$"):
        fastcos.cosine_similarity(torch.ones(4, 3), Dask())


def test_nor_is_it_handed_to_a_callable():
    with pytest.raises(TypeError, match=r"^anchor is a .*map_blocks"):
        fastcos.triplet_margin_with_distance_loss(
            Dask(), X, X, distance_function=lambda a, b: pytest.fail("called")
        )


class Interface:
    def __init__(self, values):
        self.__array_interface__ = values.__array_interface__
        self._values = values


class Chunked:
    """As a column of Arrow, in memory: it has chunks, and no dtype."""

    chunks = (T[:2], T[2:])

    def __array__(self, *args, **kwargs):
        return np.concatenate(self.chunks)


IN_MEMORY = {
    "xarray": lambda: DataArray(T),
    "array interface": lambda: Interface(T),
    "array": lambda: array.array("d", T),
    "memoryview": lambda: memoryview(T),
    "chunked column": Chunked,
    "tuple": lambda: tuple(T.tolist()),
    "range": lambda: range(4),
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_what_is_in_memory_is_taken(kind):
    value = IN_MEMORY[kind]()
    np.testing.assert_array_equal(asarray("x1", value), range(4) if kind == "range" else T)
    shared = np.shares_memory(asarray("x1", value), T)
    assert shared == (kind not in ("array", "chunked column", "tuple", "range"))


# --------------------------------------------------------------------------------------------------
# DLPack
# --------------------------------------------------------------------------------------------------


class DLPack:
    """An array that has nothing but this protocol."""

    def __init__(self, values, device=None):
        self._values, self._device = values, device

    def __dlpack__(self, **options):
        assert self._device is None
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._device or self._values.__dlpack_device__()


class OldDLPack(DLPack):
    """The same before there were versions of it."""

    def __dlpack__(self, stream=None):
        return super().__dlpack__()


@pytest.mark.parametrize("kind", [DLPack, OldDLPack])
def test_what_has_dlpack_alone_is_read_in_place(kind):
    read = asarray("x1", kind(X))
    assert np.shares_memory(read, X)
    np.testing.assert_array_equal(read, X)
    value = fastcos.cosine_similarity(kind(X), kind(Y[::-1]))
    np.testing.assert_array_equal(value, fastcos.cosine_similarity(X, Y[::-1]))


@pytest.mark.parametrize("kind", [DLPack, Interface, memoryview])
@pytest.mark.parametrize("name", ["x1", "weights"])
def test_out_may_not_share_memory_with_what_is_read_in_place(kind, name):
    memory = np.arange(1.0, 13)
    one = kind(memory[:-2].reshape(2, 5) if kind is not memoryview else memory[:-2])
    out = memory[2:].reshape(2, 5)
    if name == "weights":
        one, out = kind(memory[:2]), memory[:10].reshape(2, 5)
        f = fastcos.value_and_grad(fastcos.cosine_distance_loss, argnums=0)
        args, options, label = (np.ones((2, 5)), np.ones((2, 5))), {"weights": one}, "labels"
    else:
        shape = (10,) if kind is memoryview else (2, 5)
        f, label = fastcos.value_and_grad(fastcos.paired_distance, argnums="x1"), "x1"
        args, options, out = (one, np.ones(shape)), {}, out.reshape(shape)
    before = memory.copy()
    with pytest.raises(ValueError, match=rf"^out for {label} shares memory with {name}$"):
        f(*args, out=out, **options)
    np.testing.assert_array_equal(memory, before)


def test_what_has_dlpack_and_is_read_only_is_read_in_place():
    spread = np.broadcast_to(T, (4, 4))
    read = asarray("x1", DLPack(spread))
    assert np.shares_memory(read, T)
    assert read.strides == spread.strides
    assert not read.flags.writeable
    refused(OldDLPack(spread), r"^x1 cannot be read by DLPack: .*readonly")


def test_dlpack_of_another_device_or_of_a_dtype_that_numpy_has_not_is_named():
    refused(
        DLPack(X, device=(2, 1)), r"^x1 is on another device \(DLPack .* 2, number 1\).*from_dlpack"
    )
    half = DLPack(np.ones(3, ml_dtypes.bfloat16))
    refused(half, "^x1 cannot be read by DLPack: ")
    refused(DLPack(np.ones(3, complex)), "^x1 has dtype complex128")


# --------------------------------------------------------------------------------------------------
# Arrays of objects
# --------------------------------------------------------------------------------------------------


def objects(*items):
    found = np.empty(len(items), object)
    for place, item in enumerate(items):
        found[place] = item
    return found


class NAType:
    """As pandas has it."""


class LazyFrame:
    """As of polars."""

    def collect(self):
        raise AssertionError("read whole")


CURES = {
    "vectors": (objects(X[0], X[1]), r"it holds vectors: pass np\.stack\(x1\)"),
    "lists": (objects([1.0, 2.0], [3.0, 4.0]), r"it holds vectors: pass np\.stack\(x1\)"),
    "a frame of vectors": (
        objects(X[0], X[1])[:, None],
        r"it holds vectors: pass np\.stack\(np\.asarray\(x1\)\[:, 0\]\)",
    ),
    "unequal lengths": (
        objects(X[0], X[1], X[2][:2]),
        r"vectors of unequal length, 3 at index \(0,\) and 2 at index \(2,\)",
    ),
    "no vector": (objects(X[0], None), r"it holds vectors, and none at index \(1,\)"),
    "a number for a vector": (objects(1.0, X[0]), r"it holds vectors, and none at index \(0,\)"),
    "a table of vectors": (
        objects(*X).reshape(2, 2),
        r"it holds vectors: pass np\.array\(np\.asarray\(x1\)\.tolist\(\)\)",
    ),
    "0-d arrays": (
        objects(np.array(1.0), 2.0),
        r"numbers as objects \(float, ndarray\): pass np\.asarray",
    ),
    "none at all": (np.empty((0, 3), object), r'pass np\.asarray\(x1, dtype="float64"\)$'),
    "text": (objects(1.0, "a"), r"it holds text, 'a' at index \(1,\)"),
    "None": (objects(1.0, None), r"no value at index \(1,\).*NaN there"),
    "NA": (objects(NAType(), 1), r"no value at index \(0,\)"),
    "decimals": (
        objects(decimal.Decimal(1)),
        r'\(Decimal\): pass np\.asarray\(x1, dtype="float64"\)',
    ),
    "fractions": ([fractions.Fraction(1)], r'\(Fraction\): pass np\.asarray\(x1, dtype="float64"'),
    "list of None": ([1.0, None], r"no value at index \(1,\)"),
    "generator": ((x for x in T), r"pass list\(x1\)"),
    "set": ({1.0, 2.0}, r"pass list\(x1\)"),
    "lazy frame": (LazyFrame(), r"a test_foreign LazyFrame, .*not in memory: pass x1\.collect\(\)"),
}


@pytest.mark.parametrize("kind", CURES)
def test_objects_are_refused_with_what_to_do(kind):
    value, advice = CURES[kind]
    refused(value, "^x1 has dtype object; accepted are .*bool; .*" + advice)


def test_the_advice_works():
    given = {
        "vectors": objects(*X),
        "a frame of vectors": objects(*X)[:, None],
        "a table of vectors": objects(*X).reshape(2, 2),
        "decimals": objects(*map(decimal.Decimal, T.tolist())),
        "none at all": np.empty((0, 3), object),
        "no value": objects(1.0, None),
    }
    for x1 in given.values():
        advice = refused(x1, "pass").rpartition("pass ")[2].partition(", which")[0]
        asarray("x1", eval(advice, {"np": np, "x1": x1}))


def test_what_holds_no_numbers_at_all_has_no_advice():
    for value in (None, {"a": 1.0}, object(), [{"a": 1.0}], objects(1j)):
        assert refused(value, "^x1 has dtype object").endswith("integers or bool")


def test_what_cannot_be_read_is_named():
    class Refuses:
        def __array__(self, *args, **kwargs):
            raise self.error

    for error in (TypeError("no array"), RuntimeError("no array")):
        value = Refuses()
        value.error = error
        refused(value, "^x1 cannot be read as an array: no array$")


# --------------------------------------------------------------------------------------------------
# The libraries themselves
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "column"), [("pandas", "Series"), ("polars", "Series"), ("pyarrow", "array")]
)
def test_advice_on_columns_works(library, column):
    make = getattr(pytest.importorskip(library), column)
    for values in (X.tolist(), [decimal.Decimal(1), decimal.Decimal(2)], [True, None]):
        x1 = make(values)
        advice = refused(x1, "pass ").rpartition("pass ")[2].partition(", which")[0]
        read = asarray("x1", eval(advice, {"np": np, "x1": x1}))
        assert len(read) == len(values)
    np.testing.assert_array_equal(asarray("x1", make(T.tolist())), T)
    refused(make([[1.0, 2.0], [3.0]]), "unequal length, 2 at .* and 1 at")


def test_advice_on_nullable_frames_works():
    pandas = pytest.importorskip("pandas")
    backends = ["pyarrow"] if importlib.util.find_spec("pyarrow") else []
    for x1 in (
        pandas.Series([True, None], dtype="boolean"),
        *[pandas.DataFrame(X).convert_dtypes(dtype_backend=backend) for backend in backends],
        pandas.DataFrame({"a": [1.0, None]}, dtype=object),
    ):
        try:
            advice = (
                refused(x1, r"pass x1\.to_numpy").rpartition("pass ")[2].partition(", which")[0]
            )
        except pytest.fail.Exception:
            continue  # a version that has no objects there
        assert eval(advice, {"np": np, "x1": x1}).dtype == np.float64


def test_h5py_itself(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = X
        refused(file["x"], r"^x1 is a h5py Dataset, .*pass x1\[:\]")
        np.testing.assert_array_equal(asarray("x1", file["x"][:]), X)


def test_zarr_itself():
    zarr = pytest.importorskip("zarr")
    refused(zarr.array(X), r"^x1 is a zarr Array, .*pass x1\[:\]")


def test_netcdf_and_xarray_themselves(tmp_path):
    netcdf, xarray = (pytest.importorskip(name) for name in ("netCDF4", "xarray"))
    with netcdf.Dataset(tmp_path / "x.nc", "w") as file:
        file.createDimension("n", len(T))
        file.createVariable("x", "f8", ("n",))[:] = T
        refused(file["x"], r"^x1 is a netCDF4 Variable, .*pass x1\[:\]")
    with xarray.open_dataset(tmp_path / "x.nc") as file:
        for lazy in (file["x"], file["x"][1:]):
            refused(lazy, r"^x1 is a xarray DataArray, .*pass x1\.compute\(\)")
            assert asarray("x1", lazy.compute()).shape == lazy.shape
    in_memory = xarray.DataArray(X)
    assert np.shares_memory(asarray("x1", in_memory), X)


def test_pytables_itself(tmp_path):
    tables = pytest.importorskip("tables")
    with tables.open_file(tmp_path / "x.h5", "w") as file:
        for leaf in (file.create_array("/", "a", X), file.create_carray("/", "c", obj=X)):
            refused(leaf, r"^x1 is a tables C?Array, .*pass x1\[:\]")


def test_tensorstore_itself():
    tensorstore = pytest.importorskip("tensorstore")
    refused(tensorstore.array(X), r"^x1 is a tensorstore TensorStore, .*pass x1\[:\]")


def test_an_exporter_that_fails_is_named():
    class Failing:
        def __dlpack__(self, **options):
            raise ValueError("boo")

    with pytest.raises(TypeError, match=r"^x1 cannot be read by DLPack: .*__dlpack_device__"):
        fastcos.cosine_similarity(Failing(), [1.0])
    Failing.__dlpack_device__ = lambda self: (1, 0)
    with pytest.raises(TypeError, match=r"^x1 cannot be read by DLPack: boo"):
        fastcos.cosine_similarity(Failing(), [1.0])


def test_text_that_is_no_number_is_not_made_one():
    with pytest.raises(TypeError, match=r"it holds text, 'a' at index \(0,\): leave it out$"):
        fastcos.cosine_similarity(objects("a", "b"), [1.0, 2.0])
