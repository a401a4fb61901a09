"""Why scores fall: activation statistics by layer, and what swapping the statistics of batch norm gives back."""
