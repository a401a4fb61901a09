"""Metrics and their uncertainty: AUROC, calibration, bootstrap, clustered variance, several readers."""
