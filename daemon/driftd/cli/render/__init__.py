"""Documents as people read them. Pure: a document and a look go in, text comes out.

A document that came over a socket renders the same as one that was made in this process.
"""
