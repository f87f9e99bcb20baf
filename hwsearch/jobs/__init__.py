"""Whole steps of the main job: each is what one verb of the command line does.

A step's result is files, so a job that was interrupted goes on from the files that are there.
"""
