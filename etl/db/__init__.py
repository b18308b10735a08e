"""The SQL end: engine, types, tables, and the transactions that keep them true."""
