"""Teach a network one's own classes.

clips      which files there are, their labels and splits
batches    frames out of files, augmented, as arrays
fit        the loop: phases, learning rate, checkpoints, early stopping
report     precision and recall, confusion matrix, curves
"""
