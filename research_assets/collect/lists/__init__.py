"""Lists of a video or an account: comments, replies, profiles, follow lists, likes, reposts, pinned videos.

`run.ListPartitionRun` collects the units of one partition, `pager` reads the pages of one unit, `inputs` reads what a
run needs to know before it sends a request.

Not here: which units a partition has (see units/targets.py).
"""
