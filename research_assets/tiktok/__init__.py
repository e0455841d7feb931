"""TikTok's Research API as a library: what can be asked, how it is asked, what comes back, what went wrong.

It knows nothing of quotas, files or Dagster, repeats no data request on its own, and can be used alone.
"""
