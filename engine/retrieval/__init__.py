"""Retrieval scored: tensors in, tensors out, one idea a file. Nothing here knows of a config, a rank or a data set.

images.py     who is on an image, and which gallery images count for a query (the Market-1501 rule)
distances.py  from features to blocks of distances
ranking.py    places of the matches: CMC, average precision, inverse negative penalty
cuhk03.py     CMC where one image of each identity is drawn for the gallery (CUHK03)
reranking.py  distances that also ask whose neighbours are whose (k-reciprocal)
nearest.py    the nearest images themselves, for predictions and pictures
checks.py     what is wrong with the queries of a data set, before anything is trained

Over the splits of a data set `exp.py groups --across DATASETS.TRAIN` gives mean and standard deviation.
"""
