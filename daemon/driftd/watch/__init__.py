"""Watching: file events become one cheap note per owner, never more than a hint that a look may be worth it.

What is true is found out elsewhere, by `stat`, by content, and by the rescan.
"""
