"""`local-v1`: frame features of EfficientNet-Lite0 and log-mel statistics, as 1024 numbers each.

The name stands for the bits: whoever changes weights, sampling, pooling or projection makes a
`local-v2`. What the model can and cannot do is in `MODEL_CARD.md`.
"""
