"""The one HTTP client: proxies, certificates, redirects, time limits.

Nothing is imported here, since httpx2 is slow to import.
"""
