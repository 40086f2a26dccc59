"""One module per command of `python -m experiments`: it parses, calls and prints; nobody imports it."""
