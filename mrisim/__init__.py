"""mrisim: MRI artifacts made where they arise - in complex multi-coil k-space - and reconstructed."""

__version__ = "0.1.0"
