"""There in CuPy 13, so that SigPy asks for `cupy.cudnn`."""
