"""Duties to the people in the data: what is withdrawn leaves every file, and it can be shown.

Not here: the log of withdrawn items and their removal from answers (see storage/withdrawals.py, storage/withheld.py).
"""
