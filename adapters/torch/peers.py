"""Processes that hold a batch together, as torch.distributed has them: ranks of a process group.

Rows and numbers go as bytes, so that it does not matter which dtypes a backend knows; only sums of
slopes are added up, here and not by the backend: in the order of the ranks, the same bits on each.
Of backends it takes ``all_gather`` and ``all_to_all_single``, which gloo, NCCL and MPI have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed


class Group:
    """The ranks of a process group, for one call: :class:`fastcos.engine.sharing.Peers`."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.rank: int = distributed.get_rank(group)
        self.size: int = distributed.get_world_size(group)
        self.met = False

    def again(self) -> Group:
        """The same ranks, for another call."""
        return Group(self.group)

    def exchange(self, numbers: Sequence[int]) -> list[list[int]]:
        """The numbers of all."""
        self.met = True
        own = torch.tensor([list(numbers)], dtype=torch.int64, device="cpu")
        found: list[list[int]] = self.gather(own, (1,) * self.size).tolist()
        return found

    def tell(self, text: str) -> list[str]:
        """The texts of all."""
        said = text.encode(errors="replace") or b" "
        own = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        counts = [length for (length,) in self.exchange([len(own)])]
        parts = torch.split(self.gather(own, counts), counts)
        return [bytes(part.tolist()).decode().strip() for part in parts]

    def apart(self, function: Callable[[], None]) -> None:
        """Calls a function in a thread of its own, to which no mode or transform follows."""
        begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        device = torch.cuda.current_device() if begun else None

        def called() -> None:
            if device is not None:
                torch.cuda.set_device(device)
            function()

        thread = threading.Thread(target=called)
        thread.start()
        thread.join()

    def gather(self, array: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all, one rank after another."""
        whole, most = (sum(counts), *array.shape[1:]), max(counts)
        if most == 0:
            return array.new_empty(whole)
        width, rows = array.shape[1:].numel(), len(array)
        # As many of each: what is shorter than the longest is filled up, and cut off again.
        own = array.new_empty(most, width)
        own[:rows], own[rows:] = array.detach().reshape(rows, width), 0
        own = own.to(_place(self.group, array)).view(torch.uint8)
        found = own.new_empty(self.size * most, own.shape[1])
        _all_gather()(found, own, group=self.group)
        if min(counts) < most:
            parts = torch.split(found, most)
            found = torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])
        return found.view(array.dtype).view(whole).to(array.device)

    def scatter_sum(self, array: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of this rank, of the sum over the ranks."""
        count, shape = counts[self.rank], array.shape[1:]
        place = _place(self.group, array)
        sent = array.to(place).contiguous()
        parts = sent.new_empty(self.size * count, *shape)
        distributed.all_to_all_single(
            parts, sent, [count] * self.size, list(counts), group=self.group
        )
        total, *others = parts.view(self.size, count, *shape)
        for other in others:
            total += other
        return total.to(array.device)


def _all_gather() -> Any:
    # The name that it has now, and the one that it has had before torch 2.13.
    return getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor


def _place(group: Any, array: Tensor) -> torch.device:
    """Where a tensor has to be for a process group: there already, if its backend takes it."""
    config = distributed.get_backend_config(group)
    backends = dict(each.split(":") for each in config.split(","))
    # gloo takes tensors of a GPU for some collectives, and not for all.
    if array.is_cpu or backends.get("cuda", "gloo") == "gloo":
        here = "cpu" if "cpu" in backends else "cuda"
        return torch.device(here, torch.cuda.current_device()) if here == "cuda" else _HOST
    return array.device


_HOST = torch.device("cpu")


def group_of(gather: Any, process_group: Any) -> Group | None:
    """The ranks that a call is asked to gather rows from; None if it is this process alone.

    Raises:
        TypeError: ``process_group`` is none.
        RuntimeError: there is no process group, or this process is not in it.
    """
    if process_group is None and not gather:
        return None
    there = distributed.is_available()
    if there and process_group is distributed.GroupMember.NON_GROUP_MEMBER:
        raise RuntimeError("this process is not a member of process_group")
    if there and not (process_group is None or isinstance(process_group, distributed.ProcessGroup)):
        raise TypeError(
            "process_group must be a torch.distributed.ProcessGroup or None, got a"
            f" {type(process_group).__name__}"
        )
    if not (there and distributed.is_initialized()):
        raise RuntimeError(
            "gather=True takes the rows of all processes of a group, and there is none: call"
            " torch.distributed.init_process_group first"
        )
    found = Group(process_group)
    if found.rank < 0:
        raise RuntimeError("this process is not a member of process_group")
    return found if found.size > 1 else None
