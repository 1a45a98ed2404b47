"""Where answers go: terminal, CSV and JSON lines, events, video, animation, plot."""
