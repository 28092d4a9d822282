"""What torch.compile does not look into: the functions of ``fastcos`` itself, which run kernels."""

from __future__ import annotations

from typing import Any

import torch

from fastcos.api.calls import PUBLIC
from fastcos.api.gradients import Transformed
from fastcos.engine.execute import execute
from fastcos.engine.solve import evaluate, solve


def leave_alone(*more: Any) -> None:
    """Has the public functions, ``more`` of them, and all that they call, run as they are.

    The attributes that they have break the graph where one is called. Without this the compiler
    would begin again inside of it, and visit Numba and LLVM when a kernel is compiled.
    """
    try:
        compiler = torch._C._dynamo.eval_frame
        skip = compiler._FrameAction.SKIP
        strategy = compiler._FrameExecStrategy(skip, skip)
        set_strategy = compiler.set_code_exec_strategy
    except AttributeError:
        return  # not in every release; it finds nothing to compile there, and takes its time
    within = evaluate, solve, execute
    functions: list[Any] = [*within, *PUBLIC, *more, Transformed.__call__]
    for code in {function.__code__ for function in functions}:
        set_strategy(code, strategy)
