"""One job over seeds, files and values: which runs are asked for, where they lie, and as many at once as find room."""
