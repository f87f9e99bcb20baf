"""Weight formats, one file each: what they hold, how they compute, what they are in a graph.

`WeightFormat` of `hwsearch.plan` is how users spell one; `format_of` says what it is.
"""
