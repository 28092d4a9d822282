"""What torch tests its own operators and modules with, with those of fastcos in torch's place.

Torch ships the samples in ``torch.testing._internal``: inputs, inputs that must fail, and modules
with their arguments. They are small, have no zero rows and hardly broadcast; the other files of
tests of this adapter have those.
"""

import contextlib
import copy
import functools
import importlib
import io
import pickle
import subprocess
import sys
import types
import unittest

import devices
import numpy as np
import pytest

from fastcos import distances

torch = pytest.importorskip("torch")
ft = importlib.import_module("fastcos.adapters.torch")

NAMES = (
    "cosine_embedding_loss",
    "cosine_similarity",
    "pairwise_distance",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "hinge_embedding_loss",
)
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
#: What torch says it takes besides. It computes these, or refuses them, itself.
OTHERS = {
    "cosine_embedding_loss": (torch.int64, torch.int32, torch.uint8, torch.int8, torch.bool),
    "pairwise_distance": (torch.complex128, torch.complex64, torch.int64, torch.int32),
    "triplet_margin_loss": (torch.complex128, torch.complex64, torch.int64, torch.int16),
    "triplet_margin_with_distance_loss": (torch.complex128, torch.int64, torch.uint8),
}

# Torch's own forward mode scripts some decompositions when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

by_name = pytest.mark.parametrize("name", NAMES)
by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)


# --------------------------------------------------------------------------------------------------
# Torch's material
# --------------------------------------------------------------------------------------------------


@functools.cache
def shipped(module):
    """A module of torch's own tests, imported when the first test asks: it takes seconds."""
    missing = None
    try:
        import expecttest  # noqa: F401
    except ImportError:
        # Only the base of torch's test classes, which nobody here derives from.
        missing = types.ModuleType("expecttest")
        missing.TestCase = unittest.TestCase
        sys.modules["expecttest"] = missing
    try:
        return importlib.import_module(f"torch.testing._internal.{module}")
    finally:
        if missing is not None:
            del sys.modules["expecttest"]
        # The import locks torch's backend switches for the whole process.
        torch.backends.__dict__["__allow_nonbracketed_mutation_flag"] = True


@functools.cache
def operator(name):
    table = shipped("common_methods_invocations").op_db
    (found,) = (op for op in table if op.full_name == f"nn.functional.{name}")
    return found


def samples(name, dtype):
    """Sample and reference inputs: the tensors, all with a gradient, and the keyword arguments."""
    op = operator(name)
    # Torch could not write its NaN into reference inputs that want a gradient.
    found = [((s.input, *s.args), s.kwargs) for s in op.reference_inputs(devices.place(), dtype)]
    # They have the sample inputs among them.
    plain = [(s.input, *s.args) for s in op.sample_inputs(devices.place(), dtype)]
    assert 6 <= len(plain) <= len(found)
    for expected, (tensors, _) in zip(plain, found, strict=False):
        assert all(map(torch.equal, expected, tensors))
    if dtype.is_floating_point or dtype.is_complex:
        for tensors, _ in found:
            for t in tensors:
                t.requires_grad_()
    return found


@contextlib.contextmanager
def about(tensors, kwargs):
    """Says of which sample an error is."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        shapes = ", ".join(str(list(t.shape)) for t in tensors)
        raise AssertionError(f"for {shapes} with {kwargs}: {error}") from error


# --------------------------------------------------------------------------------------------------
# Comparing
# --------------------------------------------------------------------------------------------------


def leaf(tensor, like, dtype=None):
    """Of the same numbers and strides, with a gradient of its own if ``like`` has one."""
    return tensor.detach().to(dtype or tensor.dtype).requires_grad_(like.requires_grad)


def upstream(value):
    """A gradient to go back with: no ones, no symmetry."""
    rng = np.random.default_rng(value.numel() + 7)
    return torch.from_numpy(np.asarray(rng.standard_normal(tuple(value.shape)))).to(value.dtype)


def evaluate(f, tensors, kwargs, grad_output=None):
    """The value and the gradients of all that want one; the upstream gradient that was used."""
    value = f(*tensors, **kwargs)
    wanted = [t for t in tensors if t.requires_grad]
    if not wanted:
        return value, (), None
    if grad_output is None:
        grad_output = upstream(value)
    if not value.requires_grad:
        return value, (None,) * len(wanted), None
    # The labels want one too, in some of torch's samples, and get none.
    grads = torch.autograd.grad(value, wanted, grad_output, allow_unused=True)
    return value, grads, grad_output


def assert_right(given, theirs, exact, floor=0.0):
    """Within rounding of the exact result, or the very number that torch has.

    ``floor`` is of the size of what was added up, where the result may be less. Torch rounds after
    every operation to the dtype that it computes in. The kernels round once, so in the half types
    only the comparison with a float64 result says anything.
    """
    assert type(given) is type(theirs)
    assert given.dtype is theirs.dtype
    assert given.shape == theirs.shape
    exact = exact.detach().double()
    rounded = exact.to(given.dtype).double()
    given, theirs = given.detach().double(), theirs.detach()
    eps = torch.finfo(theirs.dtype).eps
    scale = max([floor, *exact[exact.isfinite()].abs().reshape(-1).tolist()])
    single = torch.finfo(torch.float32).eps
    tolerance = eps * exact.abs() + (64 * eps if eps < single else 4 * single) * scale
    if theirs.dtype is torch.float16:
        tolerance += 2.0**-24  # what the smallest numbers of this type are apart
    right = ((given - exact).abs() <= tolerance) | (given == rounded)
    right |= (given == theirs.double()) | (given.isnan() & exact.isnan())
    if not right.all():
        at = tuple(int(i) for i in (~right).nonzero()[0])
        raise AssertionError(
            f"at {at}: {given[at].item()!r}, exactly {exact[at].item()!r}, "
            f"torch has {theirs[at].item()!r}; {int((~right).sum())} of {right.numel()} are wrong"
        )


def check(f, theirs, tensors, kwargs, gradients=True):
    """Value and gradients of ``f`` against torch's, and against torch's in float64."""
    like = tensors if gradients else [t.detach() for t in tensors]
    value, grads, grad_output = evaluate(
        f, [leaf(t, m) for t, m in zip(tensors, like, strict=True)], kwargs
    )
    # The references see dense copies: what is tested is how the layout is read.
    dense = [leaf(t.clone(memory_format=torch.contiguous_format), t) for t in like]
    wide = [leaf(t, t, torch.float64) for t in dense]
    their_value, their_grads, _ = evaluate(theirs, dense, kwargs, grad_output)
    exact_value, exact_grads, _ = evaluate(
        theirs, wide, kwargs, None if grad_output is None else grad_output.double()
    )
    assert_right(value, their_value, exact_value)
    assert value.requires_grad == their_value.requires_grad
    assert len(grads) == len(their_grads)
    wanted = [t for t in wide if t.requires_grad]
    for t, one, other, exact in zip(wanted, grads, their_grads, exact_grads, strict=True):
        if other is None:
            assert one is None
        else:
            # The gradient of a cosine is the difference of two vectors of about this length.
            floor = (grad_output.abs().max() / t.norm().clamp_min(1)).nan_to_num(0).item()
            assert_right(one, other, exact, floor)


def test_the_comparison_sees_what_it_should():
    exact = torch.tensor([1.0, -2.0, 3e-3], dtype=torch.float64)
    for dtype in FLOATS:
        good = exact.to(dtype)
        assert_right(good, good, exact)
        step = torch.finfo(dtype).eps
        for wrong in (good * (1 + 128 * step), -good, good + torch.tensor([0, 0, torch.nan])):
            with pytest.raises(AssertionError, match="exactly"):
                assert_right(wrong.to(dtype), good, exact)
    with pytest.raises(AssertionError):
        assert_right(exact.float(), exact, exact)
    with pytest.raises(AssertionError):
        assert_right(exact[None], exact, exact)
    # Torch's own number stands where it has gone wrong by rounding.
    rough = exact.to(torch.bfloat16) * 1.5
    assert_right(rough, rough, exact)


# --------------------------------------------------------------------------------------------------
# Functions: values and gradients
# --------------------------------------------------------------------------------------------------


@by_dtype
@by_name
def test_samples_have_the_value_and_the_gradients_of_torch(name, dtype):
    for tensors, kwargs in samples(name, dtype):
        with about(tensors, kwargs):
            check(getattr(ft, name), operator(name).op, tensors, kwargs)


@by_dtype
@by_name
def test_samples_without_gradients_have_the_value_of_torch(name, dtype):
    for tensors, kwargs in samples(name, dtype):
        with about(tensors, kwargs):
            check(getattr(ft, name), operator(name).op, tensors, kwargs, gradients=False)


@by_name
def test_each_input_alone_may_want_a_gradient(name):
    for tensors, kwargs in samples(name, torch.float32):
        wanted = [k for k, t in enumerate(tensors) if t.requires_grad]
        for chosen in wanted:
            some = [leaf(t, t).requires_grad_(k == chosen) for k, t in enumerate(tensors)]
            with about(some, kwargs):
                check(getattr(ft, name), operator(name).op, some, kwargs)


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, dtypes in OTHERS.items() for dtype in dtypes]
)
def test_other_dtypes_give_what_torch_gives_bit_for_bit(name, dtype):
    assert dtype in operator(name).dtypes
    for tensors, kwargs in samples(name, dtype):
        with about(tensors, kwargs):
            ours = evaluate(getattr(ft, name), tensors, kwargs)
            theirs = evaluate(operator(name).op, tensors, kwargs, ours[2])
            assert ours[0].dtype is theirs[0].dtype
            for one, other in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_every_dtype_that_torch_takes_is_tried():
    for name in NAMES:
        tried = {*FLOATS, *OTHERS.get(name, ())}
        assert tried <= operator(name).dtypes
        if name not in OTHERS:
            assert tried == operator(name).dtypes


# --------------------------------------------------------------------------------------------------
# Functions: memory that is laid out otherwise
# --------------------------------------------------------------------------------------------------


def strided(t):
    """Every second number of each row, with NaN between."""
    return shipped("common_utils").noncontiguous_like(t.clone()).detach()


def spaced(t):
    """Every second row of a taller tensor."""
    if t.ndim < 2:
        return t.detach()
    tall = t.new_full((2 * t.shape[0], *t.shape[1:]), torch.nan)
    tall[1::2] = t.detach()
    return tall[1::2]


def transposed(t):
    """The columns dense, not the rows."""
    return t.detach().mT.contiguous().mT if t.ndim > 1 else t.detach()


def expanded(t):
    """One row for all, of stride 0; for a vector one number."""
    return t.detach()[:1].expand(t.shape) if t.ndim else t.detach()


def shifted(t):
    """From an address that is no multiple of more than the element."""
    return torch.cat([t.detach().reshape(-1)[:1], t.detach().reshape(-1)])[1:].view(t.shape)


LAYOUTS = (strided, spaced, transposed, expanded, shifted)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@by_name
def test_samples_may_lie_in_memory_in_any_way(name, dtype, layout):
    changed = 0
    for tensors, kwargs in samples(name, dtype):
        for which in (range(len(tensors)), *((k,) for k in range(len(tensors)))):
            laid = [leaf(layout(t), t) if k in which else t for k, t in enumerate(tensors)]
            changed += any(
                a.stride() != b.stride() or a.storage_offset() != b.storage_offset()
                for a, b in zip(laid, tensors, strict=True)
            )
            with about(laid, kwargs):
                check(getattr(ft, name), operator(name).op, laid, kwargs)
    assert changed


# --------------------------------------------------------------------------------------------------
# Functions: derivatives
# --------------------------------------------------------------------------------------------------


def finite(found):
    """Without the samples that have no derivative to compare with."""
    kept = [row for row in found if all(t.isfinite().all() for t in row[0])]
    assert len(kept) >= 6
    return kept


def only_wanted(f, tensors, kwargs):
    """``f`` as a function of those of the tensors that want a gradient, and these."""
    wanted = [k for k, t in enumerate(tensors) if t.requires_grad]

    def function(*some):
        arguments = list(tensors)
        for k, t in zip(wanted, some, strict=True):
            arguments[k] = t
        return f(*arguments, **kwargs)

    return function, tuple(tensors[k] for k in wanted)


@pytest.mark.unsimulated
@by_name
def test_samples_pass_gradcheck_in_reverse_and_forward_mode_and_in_batches(name):
    for tensors, kwargs in finite(samples(name, torch.float64)):
        with about(tensors, kwargs):
            assert torch.autograd.gradcheck(
                *only_wanted(getattr(ft, name), tensors, kwargs),
                check_forward_ad=True,
                check_batched_grad=True,
                check_batched_forward_grad=True,
            )


@pytest.mark.unsimulated
@by_name
def test_samples_pass_gradgradcheck_also_forward_over_reverse(name):
    for tensors, kwargs in finite(samples(name, torch.float64)):
        function, wanted = only_wanted(getattr(ft, name), tensors, kwargs)
        grad_output = upstream(function(*wanted)).requires_grad_()
        with about(tensors, kwargs):
            assert torch.autograd.gradgradcheck(
                function, wanted, grad_output, check_fwd_over_rev=True, check_batched_grad=True
            )


# --------------------------------------------------------------------------------------------------
# Functions: what must fail
# --------------------------------------------------------------------------------------------------


#: Torch has inputs that must fail for these only.
FAILING = ("triplet_margin_loss", "triplet_margin_with_distance_loss", "hinge_embedding_loss")


def test_no_error_inputs_are_left_out():
    assert tuple(n for n in NAMES if operator(n).error_inputs_func is not None) == FAILING


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", FAILING)
def test_error_inputs_fail_as_in_torch(name, requires_grad):
    found = list(operator(name).error_inputs(devices.place()))
    assert found
    for error in found:
        sample = error.sample_input
        tensors = [t.requires_grad_(requires_grad) for t in (sample.input, *sample.args)]
        with about(tensors, sample.kwargs):
            with pytest.raises(error.error_type, match=error.error_regex) as ours:
                getattr(ft, name)(*tensors, **sample.kwargs)
            with pytest.raises(error.error_type) as theirs:
                operator(name).op(*tensors, **sample.kwargs)
            assert type(ours.value) is type(theirs.value)
            assert str(ours.value) == str(theirs.value)


# --------------------------------------------------------------------------------------------------
# Modules
# --------------------------------------------------------------------------------------------------

MODULES = (
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "PairwiseDistance",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "HingeEmbeddingLoss",
)
#: Which torch has no module inputs for, or too few.
MORE = {
    "CosineSimilarity": [((), {}), ((0,), {}), ((-1, 0.5), {}), ((), {"eps": 1e-3})],
    "TripletMarginLoss": [
        ((), {}),
        ((2.0, 1.0), {"reduction": "none"}),
        ((), {"swap": True, "eps": 1e-3, "reduction": "sum"}),
        ((0.5, 2.0, 1e-6, True), {}),
    ],
    "TripletMarginWithDistanceLoss": [
        ((), {}),
        ((), {"margin": 2.0, "swap": True, "reduction": "none"}),
        ((), {"distance_function": torch.nn.PairwiseDistance(p=1.0), "reduction": "sum"}),
        ((), {"distance_function": torch.nn.functional.cosine_similarity}),
    ],
}
by_module = pytest.mark.parametrize("name", MODULES)


def operands(name, dtype, *shape):
    """Of a module: tensors, the labels last."""
    g = torch.Generator().manual_seed(len(name))
    count = {"Triplet": 3, "HingeEm": 1}.get(name[:7], 2)
    draw = [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(count)]
    draw = [t.requires_grad_() for t in draw]
    if name.endswith("EmbeddingLoss"):
        labels = torch.randint(2, shape if count == 1 else shape[:-1], generator=g) * 2 - 1
        draw.append(labels.to(dtype))
    return draw


def module_inputs(name, dtype):
    """Arguments of the constructor and of ``forward``: torch's, and some where it has none."""
    found = []
    for info in shipped("common_modules").module_db:
        if info.module_cls is getattr(torch.nn, name):
            found += [
                (i.constructor_input.args, i.constructor_input.kwargs, i.forward_input.args)
                for i in info.module_inputs_func(
                    info, device=devices.place(), dtype=dtype, requires_grad=True, training=True
                )
            ]
    common = shipped("common_nn")
    for row in common.get_new_module_tests():
        if row.get("module_name") == name:
            tensors = row["input_fn"]()
            tensors = tensors if isinstance(tensors, tuple) else (tensors,)
            tensors = tuple(t.detach().to(dtype).requires_grad_() for t in tensors)
            found.append((row.get("constructor_args") or (), {}, tensors))
    for their_name, input_fn, target_fn in common.classification_criterion_no_batch:
        if their_name == name:
            inputs = input_fn()
            inputs = inputs if isinstance(inputs, tuple) else (inputs,)
            inputs = tuple(t.detach().to(dtype).requires_grad_() for t in inputs)
            found += [
                ((), {"reduction": r}, (*inputs, target_fn().to(dtype))) for r in common.reductions
            ]
    for args, kwargs in MORE.get(name, ()):
        found += [
            (args, kwargs, tuple(operands(name, dtype, *shape))) for shape in ((7, 5), (1, 40))
        ]
    assert len(found) >= 5
    return found


def both(name, args, kwargs):
    """Our module and torch's, of the same arguments."""
    return getattr(ft, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)


@by_dtype
@by_module
def test_module_inputs_have_the_value_and_the_gradients_of_torch(name, dtype):
    for args, kwargs, tensors in module_inputs(name, dtype):
        ours, theirs = both(name, args, kwargs)
        assert isinstance(ours, type(theirs))
        with about(tensors, (args, kwargs)):
            check(ours, theirs, tensors, {})


@pytest.mark.parametrize("name", ["CosineEmbeddingLoss", "TripletMarginLoss", "HingeEmbeddingLoss"])
def test_module_inputs_agree_with_the_references_of_torchs_tests(name):
    reference = shipped("common_nn").loss_reference_fns[name]
    for args, kwargs, tensors in module_inputs(name, torch.float64):
        given = getattr(ft, name)(*args, **kwargs)(*tensors)
        # The reference for pairs of vectors knows batches only.
        alone = name == "CosineEmbeddingLoss" and tensors[0].ndim == 1
        rows = [t[None] for t in tensors] if alone else tensors
        expected = reference(*rows, *args, **kwargs).reshape(given.shape)
        with about(tensors, (args, kwargs)):
            torch.testing.assert_close(given, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.unsimulated
@by_module
def test_module_inputs_pass_gradcheck_and_gradgradcheck(name):
    for args, kwargs, tensors in module_inputs(name, torch.float64):
        function, wanted = only_wanted(getattr(ft, name)(*args, **kwargs), tensors, {})
        grad_output = upstream(function(*wanted)).requires_grad_()
        with about(tensors, (args, kwargs)):
            assert torch.autograd.gradcheck(function, wanted, check_forward_ad=True)
            assert torch.autograd.gradgradcheck(function, wanted, grad_output, fast_mode=True)


def saved(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = (copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved)


@pytest.mark.parametrize("again", COPIES, ids=["copy", "deepcopy", "pickle", "torch.save"])
@by_module
def test_a_copy_of_a_module_does_the_same(name, again):
    for args, kwargs, tensors in module_inputs(name, torch.float32):
        module = getattr(ft, name)(*args, **kwargs)
        copied = again(module)
        assert copied is not module
        assert type(copied) is type(module)
        assert repr(copied) == repr(module)
        torch.testing.assert_close(copied(*tensors), module(*tensors), rtol=0, atol=0)


@pytest.mark.unsimulated
def test_a_module_with_a_record_is_loaded_in_another_process(tmp_path):
    record = distances.lp(3)
    module = ft.TripletMarginWithDistanceLoss(distance_function=record)
    for again in COPIES:
        given = again(module).distance_function
        assert given == record
        assert given.accumulate is record.accumulate
    tensors = [t.detach() for t in operands("TripletMarginWithDistanceLoss", torch.float32, 4, 3)]
    torch.save((module, tensors, module(*tensors)), tmp_path / "saved.pt")
    # Nothing of fastcos is imported there before.
    code = """
import sys, torch
module, tensors, expected = torch.load(sys.argv[1], weights_only=False)
assert torch.equal(module(*tensors), expected)
print(module)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "saved.pt")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(module)


@by_module
def test_modules_have_the_attributes_of_torchs_and_name_their_options(name):
    for args, kwargs, _ in module_inputs(name, torch.float32):
        ours, theirs = both(name, args, kwargs)
        attributes = {k: v for k, v in vars(theirs).items() if not k.startswith("_")}
        options = eval(f"dict({ours.extra_repr()})", vars(torch.nn.functional).copy())
        assert options
        for attribute, value in attributes.items():
            if attribute == "distance_function":
                assert type(ours.distance_function).__name__ == type(value).__name__
                continue
            assert getattr(ours, attribute) == value
            if attribute != "training":
                assert options["p" if attribute == "norm" else attribute] == value
        assert ours.training
        assert not ours.eval().training
        assert list(ours.parameters()) == list(theirs.parameters()) == []


@by_module
def test_a_state_dict_goes_to_and_comes_from_torch(name):
    ours, theirs = both(name, (), {})
    assert ours.state_dict() == theirs.state_dict()
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata
    network = torch.nn.ModuleDict({"embed": torch.nn.Linear(3, 2), "loss": ours})
    torchs = torch.nn.ModuleDict({"embed": torch.nn.Linear(3, 2), "loss": theirs})
    for source, sink in ((network, torchs), (torchs, network)):
        torch.nn.init.normal_(source["embed"].weight)
        assert str(sink.load_state_dict(source.state_dict(), strict=True)) == (
            "<All keys matched successfully>"
        )
        assert torch.equal(sink["embed"].weight, source["embed"].weight)


@by_module
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_modules_move_with_their_network(name, dtype):
    tensors = operands(name, dtype, 4, 3)
    ours, theirs = (
        torch.nn.Sequential(m).to(devices.place(), dtype)[0] for m in both(name, (), {})
    )
    check(ours, theirs, tensors, {})
