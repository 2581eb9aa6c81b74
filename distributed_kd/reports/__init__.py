"""What a person reads: the screen while a run goes on, its outcome, and tables over many runs."""
