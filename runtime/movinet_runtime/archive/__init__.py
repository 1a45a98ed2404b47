"""Whole archives of videos: planned, cut, labelled by workers, and written in order.

plan    what the user named, as streams            (the machine that was asked)
pieces  streams cut into parts of equal work       (pure)
work    a part's frames, seen by the model         (a worker)
journal what is finished, one line a part          (the machine that was asked)
rows    parts put together to rows                 (pure)
formats rows as files
mine    segments of rows, as lists or clips        (pure, but for the cutting)
"""
