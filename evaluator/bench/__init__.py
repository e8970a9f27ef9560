"""`python -m evaluator.bench`: the speed, the memory and the exactness of the evaluator, side by side with others."""
