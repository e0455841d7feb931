"""Verification: which stored items still exist, by batch compliance (reference 3.11) or look-ups.

Not here: the removal of what no longer exists (see ../forget.py).
"""
