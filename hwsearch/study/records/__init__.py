"""What a study has written down: trials, identity, fronts."""
