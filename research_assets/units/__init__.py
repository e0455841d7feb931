"""Units, which can be complete, and their costs: attempts and states, windows, targets, periods, estimates.

The modules are pure or read the raw tables; they send no request and write no file. Planning and collection share them.
Not here: which units are collected next (see planning/); how they are collected (see collect/).
"""
