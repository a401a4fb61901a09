"""Memory that runs out, on this machine or on a GPU, as one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager

from mrisim.errors import DataError

CUDA_SAYS = ("cudaErrorMemoryAllocation", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
"""Errors of CUDA's libraries, which CuPy raises as they are; its own pool raises a MemoryError."""
TORCH_SAYS = ("DefaultCPUAllocator: ", "CUDA out of memory. ")
"""What precedes the reason in torch's RuntimeErrors."""


@contextmanager
def memory_errors_named(
    gpu_needs: str = "fewer --workers, or --device cpu",
    machine_needs: str = "fewer --workers, or a part of the --slices at a time",
) -> Iterator[None]:
    """Turn memory that runs out in the block into one line: where, what could not be had, and what needs less.

    Parameters
    ----------
    gpu_needs, machine_needs : str
        What to try where the memory of a GPU, or of this machine, ran out.

    Raises
    ------
    DataError
        If memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        cause = _lack_of_memory(error)
        if cause is None:
            raise
        of_gpu = type(cause).__module__.startswith("cupy") or TORCH_SAYS[1] in str(cause)
        where, less = ("the GPU", gpu_needs) if of_gpu else ("this machine", machine_needs)
        line = f"{where} is out of memory{_said(cause)}; try {less}"
        del cause  # in a variable here it would keep itself, and all arrays on its way
        raise DataError(line) from None


def _lack_of_memory(error: BaseException | None) -> BaseException | None:
    """Return the lack of memory that this error is, or that led to it: SigPy's operators raise their own."""
    while error is not None and not _is_lack_of_memory(error):
        error = error.__cause__
    return error


def _said(error: BaseException) -> str:
    """Return the first sentence of an error, after a colon."""
    text = str(error).strip()
    for before in TORCH_SAYS:
        text = text.rpartition(before)[2]
    return f": {text.splitlines()[0].partition('. ')[0].rstrip('.')}" if text else ""


def _is_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(name in str(error) for name in CUDA_SAYS + TORCH_SAYS)
