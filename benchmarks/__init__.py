"""How fast, how small and how right: ftmirror beside what people would use instead."""
