"""Tests of the Research API's library, all through httpx's transport seam."""
