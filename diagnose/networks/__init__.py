"""The networks of the study; each takes the norm layer as an argument: ``norm_layer(n_channels) -> nn.Module``."""
