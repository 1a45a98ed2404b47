"""Where a model stands against what its multiplications and bytes allow.

count.py   what a step computes and moves, operator by operator, from the file alone
least.py   the least instructions of an ARM core and the least time of this machine for that
peak.py    what this machine can do at most, measured (peak.c)
taken.py   what a step takes, measured
page.py    tables and pictures
"""
