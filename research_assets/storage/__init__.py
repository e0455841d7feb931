"""Files on disk: captures, raw tables in Parquet, partition locks, and atomic writes of files.

Not here: what to collect (see planning/), requests (see collect/), the warehouse (see warehouse/).
"""
