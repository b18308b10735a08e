"""The mirror through the tools that analysts use: tried for real, from a fresh clone."""
