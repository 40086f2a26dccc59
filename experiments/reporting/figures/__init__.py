"""Pictures of what the analysis says.

figure_data.py, probe_data.py   the rows that are drawn; no plotting library
chart_parts.py                  what the charts share
charts.py, length_charts.py, pareto.py, probe_charts.py, pair_charts.py   the charts
drawing.py                      the report's pictures of scores, and how any chart is rendered
ladder_figures.py               the ladder's
"""
