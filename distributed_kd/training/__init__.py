"""The loop of a run, in one process and on Ray, and what stands around it."""
