"""Synthetic anatomy: cited tissue values, signal equations, and procedural or template phantoms."""
