"""Tasks: loss, prediction and metric of what a network is trained for."""
