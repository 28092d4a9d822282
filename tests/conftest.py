"""Fixtures: random numbers that are the same every time, and losses called by their name."""

import os
import sys

import devices
import numpy as np
import oracle
import pytest

import fastcos

# torch.compile's pool of compilers may take five minutes to end (pytorch/pytorch#162199), and the
# tests with it. Each worker compiles for itself, as do the processes that tests start.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

#: For type checkers, and not to be run.
collect_ignore = ["typed"]

#: Tests that are about what arrays hold, wherever they are: run on NumPy's and on a GPU's, unless
#: marked ``host``.
ON_DEVICES = {
    "test_accuracy",
    "test_custom",
    "test_errors",
    "test_gradients",
    "test_reductions",
    "test_seeds",
    "test_shapes",
    "test_values",
}


#: The same of tensors.
TENSORS_ON_DEVICES = {
    "test_torch",
    "test_torch_capabilities",
    "test_torch_opinfo",
    "test_torch_rows",
    "test_torch_semantics",
}


#: Those of the first that are run on arrays of Dask, too, where a call takes 20 ms: the others were
#: once, and went through.
IN_CHUNKS = {"test_errors", "test_reductions", "test_shapes"}


#: ``-m quick``, for between two edits: under a minute, compiled kernels or not. Modules that take
#: next to nothing, and of the others one test of each kind, of few losses, distances and dtypes.
QUICK = {
    "test_architecture": None,
    "test_errors": None,
    "test_foreign": None,
    "test_packaging": None,
    "test_public": None,
    "test_records": None,
    "test_threads": None,
    "test_accuracy": {"test_one_minus_c_is_right_for_nearly_parallel_float32_rows"},
    "test_custom": {"test_value_and_gradient", "test_parameters_are_arguments"},
    "test_faults": {"test_the_error_of_the_function_is_the_cause"},
    "test_gradients": {
        "test_an_upstream_gradient_per_sample",
        "test_argnums_say_which_gradients_and_in_which_order",
        "test_out_is_written_and_returned_whatever_its_layout",
        "test_the_oracle_differentiates_its_losses",
    },
    "test_listwise": {
        "test_bad_input",
        "test_the_oracle_knows_every_loss",
        "test_upstream_gradients_in_every_form",
    },
    "test_reductions": {"test_targets_broadcast_to_a_grid_of_samples"},
    "test_repeated": {"test_options_that_are_equal_and_not_the_same"},
    "test_rows": {"test_rows_broadcast_like_arrays", "test_sparse_gradients"},
    "test_shapes": {"test_any_feature_axis", "test_pairs_broadcast_and_sum_their_gradients"},
    "test_dask": {"test_gradients_have_the_chunks_of_their_argument", "test_verification"},
    "test_sklearn": {
        "test_every_loss_of_the_library_has_a_kind",
        "test_pairs_are_what_they_say",
        "test_wrong_parameters",
    },
    "test_torch": {"test_weights_and_pos_margin"},
    "test_values": {
        "test_every_distance_has_an_oracle",
        "test_every_loss_has_an_oracle",
        "test_labels_in_every_form_that_says_plus_or_minus_one",
        "test_the_bit_assertion_fails_on_other_bits",
        "test_the_ulp_assertion_fails_on_a_wrong_result",
        "test_the_defaults_of_the_triplet_loss",
    },
}


@pytest.hookimpl(tryfirst=True)  # before those that have not the marks asked for are left out
def pytest_collection_modifyitems(items):
    for item in items:
        if not isinstance(item, pytest.Function):
            continue  # an example in a docstring
        names = QUICK.get(item.module.__name__, ())
        tiers = ("simulated", "compiled", "chunked", "gpu")
        in_a_tier = any(map(item.get_closest_marker, tiers))
        if not in_a_tier and (names is None or item.originalname in names):
            item.add_marker("quick")


def pytest_generate_tests(metafunc):
    module = metafunc.module.__name__
    if not metafunc.definition.get_closest_marker("host"):
        if module in ON_DEVICES:
            names = [*devices.NAMES, *([devices.CHUNKED] if module in IN_CHUNKS else [])]
            metafunc.parametrize("device", names, indirect=True)
        if module in TENSORS_ON_DEVICES:
            names = devices.OF_TENSORS
            if metafunc.definition.get_closest_marker("unsimulated"):
                names = [name for name in names if "lent" not in getattr(name, "values", ())]
            metafunc.parametrize("device", names, indirect=True)


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    """Where ``fastcos`` runs in this test: its name in the module of the test is another's."""
    name = getattr(request, "param", "numpy")
    if name in ("lent", "cuda"):
        request.getfixturevalue(f"tensors_{name}")
    elif name not in ("numpy", "cpu"):
        elsewhere = devices.on(name, monkeypatch)
        for module in (request.module, sys.modules[__name__]):
            for public in ("fastcos", "value_and_grad", "grad"):
                if hasattr(module, public):
                    mine = elsewhere if public == "fastcos" else getattr(elsewhere, public)
                    monkeypatch.setattr(module, public, mine)
    return name


@pytest.fixture
def tensors_lent(monkeypatch):
    """Tensors of the CPU are taken for those of a GPU."""
    devices.forget()
    return devices.lent(monkeypatch)


@pytest.fixture
def tensors_cuda(monkeypatch):
    """Tensors that are made are on a GPU."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    devices.forget()
    with devices.made_on("cuda", monkeypatch):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(20201010)


@pytest.fixture
def evaluate():
    """``fastcos`` called as ``oracle.loss`` is, for the same kind of result."""

    def call(name, operands, target=None, *, weight=None, grad_output=None, **kwargs):
        loss = getattr(fastcos, name)
        names = oracle.LOSSES[name].operand_names
        args = (*operands, target) if target is not None else operands
        weight_name = "weights" if name == "cosine_distance_loss" else "weight"
        if weight is None:
            f = fastcos.value_and_grad(loss)
            return oracle.Result(*f(*args, grad_output=grad_output, **kwargs))
        kwargs[weight_name] = weight
        # Without and with the weight among what is asked for: the two go different ways inside.
        value, grads = fastcos.value_and_grad(loss)(*args, grad_output=grad_output, **kwargs)
        f = fastcos.value_and_grad(loss, argnums=(*names, weight_name))
        again, (*same, weight_grad) = f(*args, grad_output=grad_output, **kwargs)
        np.testing.assert_allclose(
            *(np.asarray(v, dtype=np.float64) for v in (again, value)), rtol=1e-6, atol=1e-12
        )
        for one, other in zip(same, grads, strict=True):
            oracle.assert_rows_within_ulps(one, other, 4)
        return oracle.Result(value, grads, weight_grad)

    return call
