"""What a run leaves on disk: its folder, its checkpoints and its metrics. Nothing here knows Ray or a running actor."""
