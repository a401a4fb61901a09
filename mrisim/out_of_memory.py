"""Memory that runs out, on this machine or on a GPU, as one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager

from mrisim.errors import DataError

CUDA_SAYS = ("cudaErrorMemoryAllocation", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
"""Errors of CUDA's libraries, which CuPy raises as they are; its own pool raises a MemoryError."""


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """Turn memory that runs out in the block into one line: where, what could not be had, and what needs less.

    Raises
    ------
    DataError
        If memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        line = _line(error)  # and not the error: in a variable here it would keep itself, and all arrays on its way
        if not line:
            raise
        raise DataError(line) from None


def _line(error: BaseException | None) -> str:
    """Return the line of a lack of memory, or of one that led to this error: SigPy's operators raise their own."""
    while error is not None and not _is_lack_of_memory(error):
        error = error.__cause__
    if error is None:
        return ""
    said = str(error).strip().splitlines()
    of_gpu = type(error).__module__.partition(".")[0].startswith("cupy")
    where, less = ("the GPU", "or --device cpu") if of_gpu else ("this machine", "or a part of the --slices at a time")
    return f"{where} is out of memory{': ' + said[0].rstrip('.') if said else ''}; try fewer --workers, {less}"


def _is_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(name in str(error) for name in CUDA_SAYS)
