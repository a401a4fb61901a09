"""The harness: norm-variant networks, training, shifted evaluation, inference, report, and the `diagnose` command."""
