"""What a reader opens: HTML that loads nothing, of tables and pictures.

page.py               the report of a study
sheets.py             any other page in its style
attention_pages.py    attention to explore, and attention_figures.py: as a still picture
templating.py         how templates/ is filled
"""
