"""Quota: the ledger of reserved requests, fair shares between studies, and the server time that defines a quota day.

Not here: sending requests (see collect/), planning runs (see planning/).
"""
