"""Lists of ids from elsewhere, asked of the API: how many of them it returns (audit), and their rows anew (rebuild).

Reading such a list is here, asking for it, and what the answers say. No Dagster, no study: the command line calls it.
"""
