"""The Open Inference Protocol (V2): its messages, their meaning for a model, and their form in REST."""
