"""The report of one study: what it keeps, section by section, as one page."""
