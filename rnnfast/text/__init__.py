"""What `train` and `sample` know of text: its symbols, the model, the ladder of other models."""
