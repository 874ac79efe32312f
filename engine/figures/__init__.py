"""The pictures in a run's figures/: curves, what was confused, how sure and how right, mistakes, where the network looks.

One picture a file, each a plain function from numbers to a PNG; `of_test.draw_test` makes those of a test.
"""
