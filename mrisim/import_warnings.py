"""What SigPy and CuPy say, when they are imported, of libraries that nothing here needs."""

import warnings

NOT_NEEDED = (
    r"\s*(nccl|cudnn) library could not be loaded",  # CuPy 13 and 14, where SigPy asks for the two
    r"Importing cupy\.cuda\.(nccl|cudnn) failed",  # SigPy 0.1.27, of CuPy 13
)
"""Starts of messages, as regular expressions; `filterwarnings` in pyproject.toml has them for the tests."""


def ignore_import_warnings() -> None:
    """Keep a dozen lines off a program's standard error: NCCL joins several GPUs, cuDNN runs networks; not here."""
    for message in NOT_NEEDED:
        warnings.filterwarnings("ignore", message, UserWarning)
