"""HTML pages that need no network.

report.py       the report of a study
sheets.py       any other page of tables and figures in its style
attention.py    an interactive page of a model's attention
templating.py   Jinja templates, styles and scripts in templates/
"""
