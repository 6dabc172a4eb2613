"""What a task predicts, how it is written and measured."""
