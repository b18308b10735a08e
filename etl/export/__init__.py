"""`ftmirror export`: the mirror as files that other programs load."""
