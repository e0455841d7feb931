"""A client library for TikTok's Research API: endpoints, requests, the client, responses and errors.

It uses no quota ledger, no files and no Dagster, and works without the rest of the project. It never repeats a data
request: each request must first be reserved in the quota (see quota/).
"""
