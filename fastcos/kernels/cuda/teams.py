"""Teams: how many threads share a row, which threads of a warp they are, and what they visit.

What the threads of a team tell each other is in :mod:`fastcos.kernels.cuda.merge`.
"""

from typing import Any, NamedTuple

from fastcos.kernels.functions import jitable

#: Threads of a block, where a team is not one.
THREADS = 128
#: Threads of the one block that sums up the sums of all blocks: as many as there can be.
FINISHING_THREADS = 1024
#: Threads of a warp: the largest team that is not a block.
WARP = 32
#: The logarithm of how many threads have a row where each warp has one.
ROW_SHIFT = WARP.bit_length() - 1
#: All threads of a warp, as bits.
WHOLE_WARP = 0xFFFFFFFF
# Vectors of 16 bytes that a thread takes of each row, at most. Many, for what follows the sums is
# the same work for every row; but the rows that a processor works on are read a second time for
# the gradient, from its first-level cache if they are not too many: 16 warps of 12 vectors of two
# rows are 196 KB of 256.
_VECTORS = 12
# Neighbouring threads that read 64 bytes: memory delivers 32 or more at a time.
_NEIGHBOURS = 4
# Of 65536 registers each of 256 threads may have as many as there can be.
_LARGEST_TEAM = 256


class Layout(NamedTuple):
    """How threads share out rows."""

    shift: int  # logarithm of the number of threads of a team
    threads: int  # of a block

    @property
    def wide(self) -> bool:
        """Whether a team is a block."""
        return 1 << self.shift > WARP


def layout(features: int, dtype: str) -> Layout:
    """How threads share out rows of so many numbers."""
    size = 8 if dtype == "float64" else 4 if dtype == "float32" else 2
    vectors = -(-features * size // 16)
    team = max(min(-(-vectors // _VECTORS), _LARGEST_TEAM), min(vectors, _NEIGHBOURS))
    shift = (team - 1).bit_length()
    return Layout(shift, THREADS if 1 << shift <= WARP else 1 << shift)


def layout_of_table(features: int, dtype: str) -> Layout:
    """The same for the gradient of a table: a vector each, for threads have nothing to merge."""
    size = 8 if dtype == "float64" else 4 if dtype == "float32" else 2
    shift = (min(-(-features * size // 16), _LARGEST_TEAM) - 1).bit_length()
    return Layout(shift, max(THREADS, 1 << shift))


#: Threads of the block that goes over the candidates of an anchor, at most and at least.
ANCHOR_THREADS, FEWEST_ANCHOR_THREADS = 256, 64
#: Candidates for each of its threads, from which on there are as many as there can be.
_CANDIDATES = 4


def anchor_threads(candidates: int) -> int:
    """How many threads go over so many candidates of an anchor."""
    many = candidates > _CANDIDATES * FEWEST_ANCHOR_THREADS
    return ANCHOR_THREADS if many else FEWEST_ANCHOR_THREADS


class Variant(NamedTuple):
    """What a kernel is compiled for, apart from the functions."""

    dtype: str  # of the operands and gradients
    distance_parameters: int  # how many the distance has
    loss_parameters: int  # how many the loss has
    columns: int = 1  # how many axes the geometry has
    # "none", "written", or "summed" where some are added up over shared rows
    gradients: str = "none"
    wide: bool = False  # whether a team is a block


class Team(NamedTuple):
    """A thread's view of its team, within a kernel."""

    shared: Any  # the shared memory of the block, float64
    lane: Any  # the number of the thread within the team
    width: Any  # how many threads the team has


class Visit(NamedTuple):
    """A team's visit to a sample."""

    position: Any  # of the sample in the order of the pass
    geometry: Any  # of the pass, row by row
    features: Any  # the length of a row
    task: Any  # the number of the task, and of its row of the float64 sums
    first: Any  # whether it is the first sample of the task
    label: Any  # of the sample
    scale: Any  # of its gradients, with its weight


@jitable()
def thread_of(cuda: Any, shift: Any) -> Any:
    """The number of the thread within its team, how many that has, and the number of its task."""
    width = 1 << shift
    lane = cuda.threadIdx.x & (width - 1)
    task = cuda.blockIdx.x * (cuda.blockDim.x >> shift) + (cuda.threadIdx.x >> shift)
    return lane, width, task


@jitable()
def threads_of_warp(cuda: Any, team: Team) -> Any:
    """The threads of the warp that are of this team, as bits, and the number of the first."""
    if team.width >= WARP:
        return WHOLE_WARP, 0
    first = (cuda.threadIdx.x - team.lane) & (WARP - 1)
    return (WHOLE_WARP >> (WARP - team.width)) << first, first


def components(vector: int) -> tuple[Any, Any]:
    """``first(team, whole)`` and ``following(team, whole, k)``: the components of a thread.

    Those of vectors up to ``whole``, and single ones from there on, in one loop for all of them:
    where that is two, the compiler unrolls them, for registers that all rows pay for. A thread
    that loads whole vectors has the same components in the same order.
    """
    last = vector - 1

    @jitable()
    def first(team: Team, whole: Any) -> Any:
        k = team.lane * vector
        return k if k < whole else whole + team.lane

    @jitable()
    def following(team: Team, whole: Any, k: Any) -> Any:
        if k >= whole:
            return k + team.width
        if k & last != last:
            return k + 1
        k += team.width * vector - last
        return k if k < whole else whole + team.lane

    return first, following
