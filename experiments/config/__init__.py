"""A study and its runs as typed settings: study.yaml, its cells, and what one run depends on."""
