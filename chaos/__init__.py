"""What is left after all that may go wrong: killed processes, lost connections, bad answers."""
