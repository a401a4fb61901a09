"""Predictions on corrupted data: the frozen table, its parts, and the figures of one evaluation."""
