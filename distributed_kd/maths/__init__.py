"""Pure functions on tensors, arrays and numbers: no state, no config objects, nothing else of the package."""
