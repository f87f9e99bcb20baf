"""Chat templates: messages to the text that an instruct model was tuned to answer after."""
