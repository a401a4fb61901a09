"""What CuPy 14.2 says where NCCL is not installed, when SigPy asks for it."""

import warnings

warnings.warn(
    "\nnccl library could not be loaded.\n\nReason: ImportError (libnccl.so.2: cannot open shared object file)\n",
    stacklevel=1,
)
