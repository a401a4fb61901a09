"""Data sets that cannot be shipped: manifests, structure checks, locks, patient-level splits, label maps."""
