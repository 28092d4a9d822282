"""Kernels compiled for GPUs that are not there, and what the linker says of them.

Both are kept on disk like kernels, by the sources, the versions and what is compiled: to compile
those that are tested takes minutes.
"""

import functools
import pathlib
import re

from fastcos.kernels.cache import digest, stored
from fastcos.kernels.cuda import binaries
from fastcos.kernels.functions import name_of

#: Of an A100, and of an H100 or H200.
CAPABILITIES = ((8, 0), (9, 0))


def ptx(make, arguments, counts, threads):
    """The PTX of a kernel of functions of fastcos."""
    parts = name_of(make), name_of(arguments), repr((counts, threads))
    key = f"fastcos-{digest(_made_by(), *parts)}.ptx"
    compiled = functools.partial(binaries.ptx, make, arguments, counts, threads)
    return stored(make, key, lambda: compiled()[0].encode(), "PTX of a kernel").decode()


def resources(text, capability):
    """By name what a kernel uses of a GPU of the capability: registers, a stack frame, spills."""

    def linked():
        binary, log = binaries.link(text, capability)
        assert binary[:4] == b"\x7fELF"
        return log.encode()

    key = f"fastcos-{digest(_made_by(), text, repr(capability))}.log"
    log = stored(binaries.link, key, linked, "resources of a kernel").decode()
    found = {"registers": int(re.search(r"Used (\d+) registers", log)[1])}
    for count, what in re.findall(r"(\d+) bytes (stack frame|spill stores|spill loads)", log):
        found[what] = int(count)
    return found


@functools.cache
def _made_by():
    """What makes both: sources of kernels, versions, and how they are compiled."""
    how = pathlib.Path(binaries.__file__).read_text("utf-8")
    return "\0".join([binaries._sources(), binaries._versions(), how])
