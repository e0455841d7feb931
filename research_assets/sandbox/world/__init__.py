"""The invented world behind the sandbox: accounts, videos, comments, relations, and how they change over time.

A seed determines all of it. Modules here know neither requests nor pages nor faults.
"""
