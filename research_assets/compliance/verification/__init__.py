"""Verification: which stored videos and comments still exist, by batch compliance (reference 3.11).

Not here: the removal of what no longer exists (see ../forget.py).
"""
