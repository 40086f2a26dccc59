"""The studies: from a study.yaml to trained cells, scores and a report.

Commands, each `python -m experiments.<name>`: prepare, train, evaluate, report, launch; plan, compare, ladder, sync;
translate, export, attention; components, describe; layer_costs. A command reads, acts and writes; what it does with is
in the folders beside it (training, launching, analysis, figures, pages, planning, exporting), each with a list of its
files, or in a module that several of them share.
"""
