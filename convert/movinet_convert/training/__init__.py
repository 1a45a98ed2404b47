"""Teach a network one's own classes.

plan         what to do, and what is known of an epoch
reading      frames out of files, augmented
batches      of them, read ahead, with labels and weights
devices      one, several cards, or several machines
step         loss, gradient and optimizer on each of them
fit          the loop: phases, epochs, the best one
validation   what a network answers to clips, alone and in streams
checkpoint   everything that a stopped training needs to go on
log, report  tables and pictures of it
"""
