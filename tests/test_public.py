"""What is seen of the public names: signatures, help, completion, pickles, misspellings."""

import copy
import importlib
import inspect
import pickle
import pydoc
import sys
import typing

import numpy as np
import pytest

import fastcos
import fastcos.typing
from fastcos.__main__ import main
from fastcos.api.calls import PUBLIC

MODULES = [
    "fastcos",
    "fastcos.api",
    "fastcos.distances",
    "fastcos.listwise",
    "fastcos.losses",
    "fastcos.measures",
    "fastcos.plots",
    "fastcos.sklearn",
    "fastcos.typing",
    "fastcos.adapters.torch",
]
LOSSES = sorted(PUBLIC, key=lambda loss: loss.__name__)
TRANSFORMS = [fastcos.value_and_grad, fastcos.grad]
X, Y = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])


def name_of(given):
    return given.__name__


# -- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_completion_offers_what_is_public_and_nothing_else(name):
    if name.endswith("torch"):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)
    assert module.__doc__


def test_the_core_says_which_of_its_modules_are_public():
    # Those without an underscore, and what is in none of them is not to be relied upon.
    core = {name for name in vars(fastcos) if inspect.ismodule(getattr(fastcos, name))}
    public = {f"fastcos.{name}" for name in core if not name.startswith("_")}
    internal = {f"fastcos.{name}" for name in ("adapters", "commands", "engine", "kernels")}
    assert public - internal <= set(MODULES)


def test_help_of_fastcos_begins_with_an_overview():
    text = pydoc.plain(pydoc.render_doc(fastcos))
    overview, _, _ = text.partition("PACKAGE CONTENTS")
    for name in set(fastcos.__all__) - {"__version__"}:
        assert f" {name} " in overview, f"{name} is not in the overview"
    assert "fastcos.adapters.torch" in overview


# -- signatures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_signatures_say_what_is_returned(loss):
    signature = inspect.signature(loss)
    assert signature.return_annotation == "Result"
    assert f"{loss.__name__}{signature}" in pydoc.plain(pydoc.render_doc(loss))
    # All names in it can be looked up, but torch's, which is not imported for it.
    hints = {k: v for k, v in loss.__annotations__.items() if "Like" not in v}
    for annotation in hints.values():
        eval(annotation, vars(sys.modules[loss.__module__]))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=name_of)
@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_signatures_of_transformed_losses(loss, transform):
    f = transform(loss)
    given, own = inspect.signature(f), inspect.signature(loss)
    assert list(given.parameters) == [*own.parameters, "grad_output", "out", "accumulate"]
    for name, parameter in own.parameters.items():
        assert given.parameters[name] == parameter
    for name, default in (("grad_output", None), ("out", None), ("accumulate", False)):
        assert given.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert given.parameters[name].default is default
    valued = transform is fastcos.value_and_grad
    several = "tuple[Result, ...]"
    assert given.return_annotation == (f"tuple[Result, {several}]" if valued else several)
    alone = inspect.signature(transform(loss, 0)).return_annotation
    assert alone == ("tuple[Result, Result]" if valued else "Result")
    text = pydoc.plain(pydoc.render_doc(f))
    assert f"{loss.__name__}{given}" in text
    assert inspect.getdoc(loss).splitlines()[0] in text
    # The class has a signature and a help of its own.
    assert list(inspect.signature(type(f)).parameters) == ["loss", "argnums", "valued"]
    assert "return" in pydoc.plain(pydoc.render_doc(type(f)))


def test_types_name_what_there_is():
    from fastcos import typing as types
    from fastcos.commands import warmup
    from fastcos.engine import checks

    assert typing.get_args(types.DistanceName) == tuple(fastcos.distances.DISTANCES)
    assert typing.get_args(types.LossName) == warmup.LOSSES
    assert typing.get_args(types.Reduction) == checks.REDUCTIONS
    assert set(typing.get_args(types.Reduced)) == {*checks.REDUCTIONS} - {"none"}


# -- pickles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_functions_are_pickled_by_name(loss):
    assert pickle.loads(pickle.dumps(loss)) is loss


@pytest.mark.parametrize("transform", TRANSFORMS, ids=name_of)
@pytest.mark.parametrize("argnums", [None, 1, "input1", (1,), ["input2", 0], "weight"])
def test_transformed_losses_come_back_equal(transform, argnums):
    f = transform(fastcos.cosine_embedding_loss, argnums)
    for again in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f), copy.copy(f)):
        assert again == f
        assert hash(again) == hash(f)
        assert repr(again) == repr(f)
    given = {"weight": np.ones(1)}
    np.testing.assert_equal(
        pickle.loads(pickle.dumps(f))(X, Y, [1], **given), f(X, Y, [1], **given)
    )
    assert f == transform(fastcos.cosine_embedding_loss, argnums)


def test_transformed_losses_that_return_something_else_differ():
    loss = fastcos.cosine_embedding_loss
    several = [
        transform(loss, argnums)
        for transform in TRANSFORMS
        for argnums in (0, (0,), (0, 1), (1, 0))
    ]
    several.append(fastcos.value_and_grad(fastcos.triplet_margin_loss, 0))
    assert len(set(several)) == len(several)
    # By position or by name, all of them or by default: it is the same.
    assert fastcos.grad(loss, (0, 1)) == fastcos.grad(loss) == fastcos.grad(loss, ["input1", 1])
    assert several[0] != "value_and_grad"


def test_argnums_are_taken_as_they_were():
    argnums = ["input1"]
    f = fastcos.grad(fastcos.cosine_embedding_loss, argnums)
    argnums.append("input2")
    assert len(f(X, Y, [1])) == 1
    with pytest.raises(AttributeError, match="cannot be changed"):
        f.wanted = ("input2",)


# -- names that do not exist -----------------------------------------------------------------------


@pytest.mark.parametrize("transform", TRANSFORMS, ids=name_of)
@pytest.mark.parametrize(
    ("loss", "argnums", "message"),
    [
        ("cosine_embedding_loss", "input3", "input1, input2 .* and weight; got 'input3': did you"),
        ("cosine_embedding_loss", "target", "argnums must be among .*; got 'target'"),
        ("cosine_embedding_loss", 2, "argnums must be among .*; got 2"),
        ("cosine_embedding_loss", -1, "got -1"),
        ("cosine_embedding_loss", True, "got True"),
        ("cosine_embedding_loss", (0, "inputs"), "got 'inputs': did you mean 'input"),
        ("cosine_embedding_loss", (0, "input1"), "argnums names an argument twice"),
        ("cosine_embedding_loss", 1.5, "argnums must be positions or names, got 1.5"),
        ("cosine_distance_loss", "weight", "got 'weight': did you mean 'weights'?"),
        ("paired_distance", "distance", r"among x1, x2 \(or their positions\); got 'distance'"),
        ("paired_distance", "weight", r"among x1, x2 \(or their positions\); got 'weight'"),
        ("triplet_margin_loss", 3, "among anchor, positive, negative .*; got 3"),
    ],
)
def test_argnums_are_found_wrong_where_they_are_given(transform, loss, argnums, message):
    with pytest.raises(TypeError, match=message):
        transform(getattr(fastcos, loss), argnums)


ROWS = {"x1": X, "x2": Y}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fastcos.cosine_distance_loss(X, Y, weight=1.0),
            "'weight': did you mean 'weights'?",
        ),
        (
            lambda: fastcos.hinge_embedding_loss(X, 1, weights=1.0),
            "'weights': did you mean 'weight'",
        ),
        (lambda: fastcos.cosine_similarity(X, Y, dim=0), "'dim': did you mean 'axis'"),
        (lambda: fastcos.cosine_similarity(X, Y, epsilon=0), "'epsilon': did you mean 'eps'"),
        (lambda: fastcos.paired_distance(X, Y, metric="dot"), "'metric': did you mean 'distance'"),
        (
            lambda: fastcos.triplet_margin_with_distance_loss(X, Y, X, distance="dot"),
            "'distance': did you mean 'distance_function'",
        ),
        (
            lambda: fastcos.cosine_similarity(X, Y, out=X),
            "'out': that is for fastcos.value_and_grad .* takes x1, x2, axis, eps$",
        ),
        (
            lambda: fastcos.cosine_similarity(**ROWS, qux=1),
            "'qux'. cosine_similarity takes x1, x2, axis, eps$",
        ),
        (
            lambda: fastcos.cosine_similarity(X, Y, argnums=0),
            "'argnums': that is for fastcos.value_and_grad",
        ),
        (
            lambda: fastcos.value_and_grad(fastcos.cosine_similarity)(X, Y, gradoutput=1),
            "'gradoutput': did .* 'grad_output'.* axis, eps, grad_output, out, accumulate$",
        ),
        (
            lambda: fastcos.grad(fastcos.cosine_distance_loss)(X, Y, weight=1.0),
            "cosine_distance_loss.. got an unexpected keyword argument 'weight': did .*'weights'",
        ),
        (lambda: fastcos.cosine_similarity(X), "missing 1 required positional argument: 'x2'$"),
    ],
)
def test_an_option_that_there_is_none_of_gets_the_one_that_is_meant(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("l1", "is manhattan here"),
        ("L2", "is euclidean here"),
        ("cityblock", "cityblock is manhattan here"),
        ("taxicab", "is manhattan here"),
        ("linf", "is chebyshev here"),
        ("lp", r"fastcos\.distances\.lp\(p\)"),
        ("minkowski", r"fastcos\.distances\.lp\(p\)"),
        ("sqeuclid", "did you mean 'sqeuclidean'"),
        ("Euclidean", "did you mean 'euclidean'"),
        ("cosine_distance", "is cosine here"),
        ("cosine_similarity", r"fastcos\.cosine_similarity is the similarity"),
        ("inner_product", "is dot here"),
        ("ip", "is dot here"),
        ("correlation", "cosine of rows less their own means"),
        ("mahalanobis", "euclidean of rows multiplied by a matrix"),
        ("hamming", "manhattan divided by"),
        ("jaccard", "no gradient"),
        ("hellinger", "euclidean of the square roots"),
        ("qux", "got 'qux'$"),
    ],
)
def test_a_distance_by_its_name_elsewhere_gets_the_name_here(name, message, capsys):
    calls = (
        lambda: fastcos.paired_distance(X, Y, name),
        lambda: fastcos.triplet_margin_with_distance_loss(X, Y, X, distance_function=name),
        lambda: fastcos.warmup("paired_distance", distances=name),
    )
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(SystemExit):
        main(["warmup", "--distances", name])
    assert name in capsys.readouterr().err


def test_the_command_line_names_the_distance_that_is_meant(capsys):
    with pytest.raises(SystemExit):
        main(["warmup", "--distances", "cityblock"])
    assert "'cityblock' (choose from cosine, " in (said := capsys.readouterr().err)
    assert said.endswith("cityblock is manhattan here\n")


def test_what_is_said_of_names_elsewhere_names_what_there_is():
    from fastcos import _hints

    known = {*fastcos.distances.DISTANCES, "fastcos.distances.lp(p)", "has no gradient"}
    for name, said in _hints.DISTANCES_ELSEWHERE.items():
        assert name == name.lower()
        assert name not in fastcos.distances.DISTANCES
        assert any(one in said for one in known), said


def test_the_correlation_is_the_cosine_of_centred_rows(rng):
    x, y = rng.standard_normal((2, 4, 9))
    centred = (z - z.mean(-1, keepdims=True) for z in (x, y))
    right = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(fastcos.paired_distance(*centred, "cosine"), right, rtol=1e-12)


@pytest.mark.parametrize(
    ("reduction", "message"),
    [("meen", "did you mean 'mean'"), ("Sum", "did you mean 'sum'"), ("avg", "got 'avg'$")],
)
def test_a_reduction_that_is_none_gets_the_nearest(reduction, message):
    for f in (fastcos.cosine_embedding_loss, fastcos.grad(fastcos.cosine_embedding_loss)):
        with pytest.raises(ValueError, match=message):
            f(X, Y, [1], reduction=reduction)


def test_annotations_can_be_read_at_run_time():
    # As pydantic and documentation tools do; torch need not be there.
    for loss in (*LOSSES, *TRANSFORMS):
        assert typing.get_type_hints(loss)

    def of_ones_own(
        x: fastcos.typing.ArrayLike, weight: fastcos.typing.ArrayLike | None = None
    ): ...

    assert set(typing.get_type_hints(of_ones_own)) == {"x", "weight"}


@pytest.mark.parametrize("factory", [fastcos.distances.euclidean, fastcos.distances.lp])
def test_a_factory_that_was_not_called_is_no_distance(factory):
    with pytest.raises(TypeError, match=rf"^distance is the function {factory.__name__}: call it"):
        fastcos.paired_distance(X, Y, factory)
