"""The study engine: from a request to trained, evaluated runs, in a local queue that can be stopped and taken up."""
