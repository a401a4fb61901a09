"""The analysis of a study: from the frozen prediction table to every number of its report."""
