"""Estimators with their intervals: pure functions of numbers, with the source of each formula.

Not here: reading data, and how an estimate is shown (see report/ and the commands).
"""
