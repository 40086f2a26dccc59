"""From a study's results to its report: tables, figures and pages.

results.py        reads the cells; refuses scores that cannot share a column
published.py      the results that git keeps; against_published.py: a run beside them
study_results.py  results at hand, published or at a revision; unresolved_study.py: configs left as written
statistics.py     t-intervals, Welch's test, Holm's correction, power, noise floor
verdicts.py       better, worse, equal or open; claims.py: verdicts.json, and whether two runs contradict each other
bootstrap.py      intervals for new sentences; ranks.py: rank correlations
summary.py        one row per variant with its verdict, which tables, figures and pages show
paper.py          the paper's numbers, and whether a study agrees with them
extras.py         ensembles, and the published system that a variant resembles
tables.py         the study's table and its notes; grids.py: other tables; formats.py: numbers as text
headline.py       the finding in a sentence; provenance.py: commits, data, machines
samples.py        sample translations; attention.py: attention of a sentence pair
side_by_side.py   two studies, or two revisions; across_corpora.py: agreement between two corpora
predictions.py    what a cheap study predicts, written before the runs; prediction_scores.py: how good that was
figures/, page/   the charts; the HTML
"""
