"""What CuPy 13 does where cuDNN is not installed; CuPy 14 has no such module."""

raise ImportError("libcudnn.so.8: cannot open shared object file: No such file or directory")
