"""From a study's results to what they say. Knows no picture and no page.

results.py        one record per cell; cells whose scores may not share a column are refused
published.py      what git keeps of a study's results; against_published.py: this run beside it
study_results.py  results at hand, published or at a revision; unresolved_study.py: without resolving its configs
statistics.py     t-intervals, paired tests, Holm's correction, power; bootstrap.py: of sentences; ranks.py: of orders
summary.py        one row a variant, with its verdict: what tables, pictures and pages read
paper.py          the published numbers; against_paper.py: does a study agree with them
tables.py         the study's table in four notations; grids.py: any other table
headline.py       the finding in a sentence; notes.py: rules and evidence under a table; provenance.py: where it is from
systems.py        ensembles, and the published system that a variant is like
samples.py        sample translations
side_by_side.py   two studies, or two revisions of one; across_corpora.py: what a cheap corpus predicts
"""
